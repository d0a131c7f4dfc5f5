#include "core/copy/loadable_ranges.h"

#include <elf.h>

#include <algorithm>
#include <cstring>

#include "core/base/page.h"

namespace soswap {
namespace {

// The program headers; empty unless they lie in `head`.
std::vector<Elf64_Phdr> ReadProgramHeaders(std::span<const std::byte> head) {
  Elf64_Ehdr header{};
  if (head.size() < sizeof(header)) return {};
  std::memcpy(&header, head.data(), sizeof(header));
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phoff > head.size()) {
    return {};
  }
  const size_t size = header.e_phnum * sizeof(Elf64_Phdr);
  if (size > head.size() - header.e_phoff) return {};
  std::vector<Elf64_Phdr> headers(header.e_phnum);
  std::memcpy(headers.data(), head.data() + header.e_phoff, size);
  return headers;
}

}  // namespace

std::vector<FileRange> LoadableRanges(std::span<const std::byte> head, uint64_t size) {
  const std::vector<Elf64_Phdr> headers = ReadProgramHeaders(head);
  if (headers.empty()) return {{0, size}};
  std::vector<FileRange> ranges{{0, head.size()}};
  for (const Elf64_Phdr& header : headers) {
    if (header.p_filesz == 0 || header.p_offset >= size) continue;
    const uint64_t start = PageFloor(header.p_offset);
    const uint64_t end = header.p_filesz > size - header.p_offset
                             ? size
                             : PageCeiling(header.p_offset + header.p_filesz);
    ranges.push_back({start, std::min(end, size) - start});
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const FileRange& one, const FileRange& other) { return one.offset < other.offset; });
  std::vector<FileRange> merged;
  for (const FileRange& range : ranges) {
    if (merged.empty() || range.offset > merged.back().offset + merged.back().size) {
      merged.push_back(range);
    } else {
      FileRange& last = merged.back();
      last.size = std::max(last.size, range.offset + range.size - last.offset);
    }
  }
  return merged;
}

uint64_t SizeOf(std::span<const FileRange> ranges) noexcept {
  uint64_t size = 0;
  for (const FileRange& range : ranges) size += range.size;
  return size;
}

}  // namespace soswap
