#include "core/copy/source_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "core/base/error.h"
#include "core/base/limits.h"

namespace soswap {
namespace {

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;

// Time stamps move in steps of the kernel's tick, at most 10 ms: a second write within one step
// does not change them.
constexpr int64_t kTimeStampStep = 20'000'000;

[[noreturn]] void ThrowFileError(const std::string& path, int error_number) {
  // open(2) with O_NONBLOCK fails so while a process has a write lease on the file, fcntl(2).
  if (error_number == EWOULDBLOCK) {
    throw Error(Fault::kChangedWhileRead, "read", path, "a process has it open for writing",
                error_number);
  }
  if (error_number == EMFILE || error_number == ENFILE || error_number == ENOMEM) {
    throw Error(Fault::kSystem, "read", path, DescribeWithLimit(error_number), error_number);
  }
  // ENXIO: a socket, or a device without hardware.
  const Fault fault = error_number == ENOENT || error_number == ENOTDIR ? Fault::kNotFound
                      : error_number == ENXIO                           ? Fault::kNotAFile
                                                                        : Fault::kUnreadable;
  throw Error(fault, "read", path, std::strerror(error_number), error_number);
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

bool IsOnNoexec(int file) noexcept {
  struct statvfs status {};
  return fstatvfs(file, &status) == 0 && (status.f_flag & ST_NOEXEC) != 0;
}

bool LeasesAreLocal(int file) noexcept {
  struct statfs status {};
  if (fstatfs(file, &status) != 0) return false;
  switch (static_cast<uint32_t>(status.f_type)) {
    case 0xEF53:      // ext2, ext3, ext4
    case 0x58465342:  // XFS
    case 0x9123683E:  // Btrfs
    case 0x01021994:  // tmpfs
    case 0x858458F6:  // ramfs
    case 0x794C7630:  // overlayfs
    case 0xF2F52010:  // F2FS
    case 0x2FC12FC1:  // ZFS
    case 0xCA451A4E:  // bcachefs
    case 0x3153464A:  // JFS
      return true;
    default:
      return false;
  }
}

FileDescriptor TryOpenForReading(const std::string& path) noexcept {
  // O_NONBLOCK: opening a FIFO would wait for its writer. It changes nothing for a regular file.
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
