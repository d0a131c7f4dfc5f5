#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/base/file_descriptor.h"

namespace soswap {

// Which file, and in which state, as stat(2) tells it. An inode number alone proves nothing: file
// systems use a freed one again at once.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;

  bool operator==(const FileIdentity&) const = default;
};

// Waits for nobody, not even where the path is that of a FIFO. Throws Error: kNotFound, kNotAFile,
// kUnreadable, and kChangedWhileRead while somebody has a write lease on the file.
FileDescriptor OpenForReading(const std::string& path);

// The same, but returns an invalid descriptor, with the reason in errno.
FileDescriptor TryOpenForReading(const std::string& path) noexcept;

// Throws Error: kNotAFile, unless it is a regular file, and kUnreadable.
FileIdentity Identify(int file, const std::string& path);

// Throws Error: kUnreadable. Reads up to `size` bytes at `offset`; fewer only at the end of the
// file.
size_t ReadAt(int file, std::byte* target, size_t size, size_t offset, const std::string& path);

// Whether the file was changed so short a time ago that it could change again and keep its time
// stamps, and so its identity. Ask before reading: it is what is written from then on that matters.
bool IsYoung(const FileIdentity& identity);

}  // namespace soswap
