#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace soswap {

// A range of bytes in a file.
struct FileRange {
  uint64_t offset = 0;
  uint64_t size = 0;

  bool operator==(const FileRange&) const = default;
};

// What of a file of `size` bytes the loader maps, and the parser reads: the pages of the ELF header
// and of what the program headers describe, in order, never one page twice. The rest of an ELF file
// is for linkers and debuggers. `head` is the file's first page. All of the file where the headers
// do not tell.
std::vector<FileRange> LoadableRanges(std::span<const std::byte> head, uint64_t size);

// Of all together.
uint64_t SizeOf(std::span<const FileRange> ranges) noexcept;

}  // namespace soswap
