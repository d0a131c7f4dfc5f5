#pragma once

#include <string>

#include "core/base/file_descriptor.h"

namespace soswap {

// Where a file without a name is kept.
enum class Storage {
  kMemory,       // memfd_create(2), or on disk where the system refuses memory files
  kPrivateFile,  // $TMPDIR (/tmp by default), or else the directory of the subject, /tmp, /dev/shm
};

// What a file is for.
enum class FileUse {
  kData,
  kCode,  // it can be mapped executable
};

// Says which directory $TMPDIR is; empty for none. Of the process, and for files created from then
// on. getenv(3) on any thread races with setenv(3), which JavaScript calls on the main thread. Any
// thread.
void SetTemporaryDirectory(std::string directory);

// Creates an empty file without a name, open for reading and writing; execve(2) closes it. A memory
// file can be sealed, fcntl(2), and /proc/<pid>/maps shows it under the file name of `subject`. Any
// thread. Throws Error (kSystem).
FileDescriptor CreateUnnamedFile(const std::string& subject, Storage storage, FileUse use);

// Opens the file of a descriptor again, for reading alone. Any thread. Throws Error (kSystem).
FileDescriptor ReopenForReading(int descriptor);

}  // namespace soswap
