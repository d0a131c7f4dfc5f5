#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/base/file_descriptor.h"

namespace soswap {

// A file in one state, as stat(2) reports it. An inode number alone proves nothing: file systems
// reuse a freed one at once.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;

  bool operator==(const FileIdentity&) const = default;

  // Whether the other differs in nothing but its ctime, as after link(2), rename(2) and chmod(2).
  bool DiffersInCtimeAlone(const FileIdentity& other) const noexcept {
    return ctime_ns != other.ctime_ns && device == other.device && inode == other.inode &&
           size == other.size && mtime_ns == other.mtime_ns;
  }
};

// Does not block, even if the path is that of a FIFO. Throws Error: kNotFound, kNotAFile,
// kUnreadable, and kChangedWhileRead while a process has a write lease on the file.
FileDescriptor OpenForReading(const std::string& path);

// The same, but returns an invalid descriptor, with the reason in errno.
FileDescriptor TryOpenForReading(const std::string& path) noexcept;

// Throws Error: kNotAFile unless it is a regular file, kUnreadable.
FileIdentity Identify(int file, const std::string& path);

// Whether the file lies on a file system that is mounted noexec: dlopen(3) refuses it.
bool IsOnNoexec(int file) noexcept;

// Whether this kernel alone decides about leases on the file, and refuses one only because of an
// open file here. A network file system may refuse every lease with the same error.
bool LeasesAreLocal(int file) noexcept;

// Reads `size` bytes at `offset`, or fewer at the end of the file. Returns how many. Throws Error:
// kUnreadable.
size_t ReadAt(int file, std::byte* target, size_t size, size_t offset, const std::string& path);

// Whether the file changed so recently that another change could leave its time stamps, and so its
// identity, as they are. Must be called before the file is read.
bool IsYoung(const FileIdentity& identity);

}  // namespace soswap
