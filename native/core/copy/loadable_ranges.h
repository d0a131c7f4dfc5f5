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

// The ranges of a file of `size` bytes that the loader maps and the parser reads: the pages of the
// ELF header and of everything that the program headers describe. Ascending, each page once. The
// rest of an ELF file is for linkers and debuggers. `head` is the file's first page. Returns the
// whole file if the headers are unreadable.
std::vector<FileRange> LoadableRanges(std::span<const std::byte> head, uint64_t size);

// Bytes of all ranges together.
uint64_t SizeOf(std::span<const FileRange> ranges) noexcept;

}  // namespace soswap
