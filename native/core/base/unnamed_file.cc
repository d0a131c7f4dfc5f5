#include "core/base/unnamed_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/limits.h"
#include "core/base/page.h"
#include "core/base/path.h"

namespace soswap {
namespace {

[[noreturn]] void Refuse(const std::string& subject, const std::string& reason) {
  throw Error(Fault::kSystem, "create a file for", subject, reason);
}

// Returns 0, or why it cannot be mapped so.
int TryToMapExecutable(int fd) {
  void* address = mmap(nullptr, PageSize(), PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
  if (address == MAP_FAILED) return errno;
  munmap(address, PageSize());
  return 0;
}

bool IsSameFile(int one, int other) {
  struct stat first {};
  struct stat second {};
  return fstat(one, &first) == 0 && fstat(other, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

// Returns an invalid descriptor, with the reason in errno, also where /proc is not what it should.
FileDescriptor Reopen(int fd, int flags) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  FileDescriptor opened(open(path.c_str(), flags | O_CLOEXEC));
  if (!opened.valid() || IsSameFile(fd, opened.get())) return opened;
  errno = ENOENT;
  return {};
}

FileDescriptor CreateInMemory(const std::string& subject) {
  constexpr size_t kLongestName = 200;  // memfd_create(2) takes 249 bytes
  const std::string name(LastPart(subject).substr(0, kLongestName));
  FileDescriptor fd(memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return fd;
  // The kernel grants write leases (core/copy/lease.h) only on files opened by open(2).
  FileDescriptor opened = Reopen(fd.get(), O_RDWR);
  return opened.valid() ? std::move(opened) : std::move(fd);
}

FileDescriptor CreateInDirectory(std::string name) {
  FileDescriptor fd(open(name.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (fd.valid()) return fd;
  name += "/soswap-XXXXXX";
  fd = FileDescriptor(mkostemp(name.data(), O_CLOEXEC));
  if (fd.valid()) unlink(name.c_str());
  return fd;
}

struct TemporaryDirectory {
  std::mutex mutex;
  std::string path;
};

TemporaryDirectory& TheTemporaryDirectory() {
  static auto* directory = new TemporaryDirectory;  // never destroyed: threads may go on at exit
  return *directory;
}

// Where a file on disk may lie, the best place first.
std::vector<std::string> DirectoriesFor(const std::string& subject) {
  std::vector<std::string> directories;
  {
    const std::lock_guard lock(TheTemporaryDirectory().mutex);
    const std::string& temporary = TheTemporaryDirectory().path;
    if (!temporary.empty()) directories.push_back(temporary);
  }
  const size_t own = subject.size() - LastPart(subject).size();
  if (directories.empty()) directories.emplace_back("/tmp");
  if (own > 0) directories.push_back(subject.substr(0, own));
  for (const char* usual : {"/tmp", "/dev/shm"}) {
    if (directories.front() != usual) directories.emplace_back(usual);
  }
  return directories;
}

}  // namespace

void SetTemporaryDirectory(std::string directory) {
  const std::lock_guard lock(TheTemporaryDirectory().mutex);
  TheTemporaryDirectory().path = std::move(directory);
}

FileDescriptor CreateUnnamedFile(const std::string& subject, Storage storage, FileUse use) {
  std::string why;
  const auto is_usable = [&](const FileDescriptor& file, const std::string& place) {
    int error_number = file.valid() ? 0 : errno;
    if (file.valid() && use == FileUse::kCode) error_number = TryToMapExecutable(file.get());
    if (error_number == 0) return true;
    // A mount option or a security policy may forbid it.
    const bool forbidden = file.valid() && (error_number == EPERM || error_number == EACCES);
    why += (why.empty() ? "" : "; ") +
           (forbidden ? place + " does not allow executable files"
                      : "no file in " + place + ": " + DescribeWithLimit(error_number));
    return false;
  };
  if (storage == Storage::kMemory) {
    FileDescriptor file = CreateInMemory(subject);
    if (is_usable(file, "memory")) return file;
  }
  for (const std::string& directory : DirectoriesFor(subject)) {
    FileDescriptor file = CreateInDirectory(directory);
    if (is_usable(file, directory)) return file;
  }
  Refuse(subject, why);
}

FileDescriptor ReopenForReading(int descriptor) {
  FileDescriptor file = Reopen(descriptor, O_RDONLY);
  if (file.valid()) return file;
  const int error_number = errno;
  throw Error(Fault::kSystem, "open again", "/proc/self/fd/" + std::to_string(descriptor),
              DescribeWithLimit(error_number), error_number);
}

}  // namespace soswap
