#include "core/copy/source_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "core/base/error.h"

namespace soswap {
namespace {

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;

// Time stamps move in steps of the kernel's tick, 10 ms at most: a second write within one step
// leaves them as they are.
constexpr int64_t kTimeStampStep = 20'000'000;

[[noreturn]] void ThrowFileError(const std::string& path, int error_number) {
  // Of open(2) with O_NONBLOCK: somebody has a write lease on it, fcntl(2), and is told to give it
  // up.
  if (error_number == EWOULDBLOCK) {
    throw Error(Fault::kChangedWhileRead, "read", path, "somebody has it open for writing");
  }
  // ENXIO: a socket, or a device without hardware.
  const Fault fault = error_number == ENOENT || error_number == ENOTDIR ? Fault::kNotFound
                      : error_number == ENXIO                           ? Fault::kNotAFile
                                                                        : Fault::kUnreadable;
  throw Error(fault, "read", path, std::strerror(error_number));
}

int64_t Nanoseconds(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * kNanosecondsPerSecond + time.tv_nsec;
}

}  // namespace

FileIdentity Identify(int file, const std::string& path) {
  struct stat status {};
  if (fstat(file, &status) != 0) ThrowFileError(path, errno);
  if (!S_ISREG(status.st_mode)) {
    throw Error(Fault::kNotAFile, "read", path,
                S_ISDIR(status.st_mode) ? "it is a directory" : "it is not a regular file");
  }
  return {.device = status.st_dev,
          .inode = status.st_ino,
          .size = static_cast<uint64_t>(status.st_size),
          .mtime_ns = Nanoseconds(status.st_mtim),
          .ctime_ns = Nanoseconds(status.st_ctim)};
}

FileDescriptor TryOpenForReading(const std::string& path) noexcept {
  // O_NONBLOCK: a FIFO without a writer must not hold us. A regular file does not care.
  return FileDescriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
}

FileDescriptor OpenForReading(const std::string& path) {
  FileDescriptor fd = TryOpenForReading(path);
  if (!fd.valid()) ThrowFileError(path, errno);
  return fd;
}

size_t ReadAt(int file, std::byte* target, size_t size, size_t offset, const std::string& path) {
  size_t done = 0;
  while (done < size) {
    const ssize_t count =
        pread(file, target + done, size - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) ThrowFileError(path, errno);
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  return done;
}

bool IsYoung(const FileIdentity& identity) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const int64_t newest = std::max(identity.mtime_ns, identity.ctime_ns);
  return Nanoseconds(now) - newest < kTimeStampStep;
}

}  // namespace soswap
