#pragma once

#include <string>

#include "core/base/file_descriptor.h"

namespace soswap {

// Where a file without a name lies.
enum class Storage {
  kMemory,       // memfd_create(2), or $TMPDIR where the system does not let one be created or used
  kPrivateFile,  // $TMPDIR, /tmp by default
};

// What a file is for.
enum class FileUse {
  kData,
  kCode,  // it can be mapped executable
};

// Creates an empty file that no path leads to, open for reading and writing, and closed by
// execve(2). `subject` is what the file is for: /proc/<pid>/maps shows the last part of it. The
// file takes seals, fcntl(2), if it lies in memory. Any thread. Throws Error (kSystem).
FileDescriptor CreateUnnamedFile(const std::string& subject, Storage storage, FileUse use);

}  // namespace soswap
