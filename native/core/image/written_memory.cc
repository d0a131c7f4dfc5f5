#include "core/image/written_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "core/base/page.h"

namespace soswap {
namespace {

// Bits of an entry of pagemap, proc(5).
constexpr uint64_t kPresent = uint64_t{1} << 63;
constexpr uint64_t kSwapped = uint64_t{1} << 62;
constexpr uint64_t kOfFile = uint64_t{1} << 61;  // not written since it was mapped

bool IsOwn(uint64_t entry) {
  return (entry & kSwapped) != 0 || (entry & (kPresent | kOfFile)) == kPresent;
}

}  // namespace

std::vector<AddressRange> WritableRanges(const dl_phdr_info& info) {
  std::vector<AddressRange> ranges;
  for (size_t i = 0; i < info.dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info.dlpi_phdr[i];
    if (header.p_type != PT_LOAD || (header.p_flags & PF_W) == 0) continue;
    const uintptr_t start = info.dlpi_addr + header.p_vaddr;
    ranges.push_back({PageFloor(start), PageCeiling(start + header.p_memsz)});
  }
  return ranges;
}

WrittenMemory::WrittenMemory() : pages_(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)) {}

uint64_t WrittenMemory::In(const std::vector<AddressRange>& ranges) const {
  std::array<uint64_t, 512> entries;
  uint64_t bytes = 0;
  for (const AddressRange& range : ranges) {
    uintptr_t at = range.start;
    while (at < range.end) {
      const size_t most = std::min((range.end - at) / PageSize(), entries.size());
      const auto offset = static_cast<off_t>(at / PageSize() * sizeof(uint64_t));
      const ssize_t size = pread(pages_.get(), entries.data(), most * sizeof(uint64_t), offset);
      if (size <= 0) break;
      const size_t count = static_cast<size_t>(size) / sizeof(uint64_t);
      if (count == 0) break;
      bytes += PageSize() * static_cast<uint64_t>(
                                std::count_if(entries.begin(), entries.begin() + count, IsOwn));
      at += count * PageSize();
    }
    bytes += range.end - at;
  }
  return bytes;
}

}  // namespace soswap
