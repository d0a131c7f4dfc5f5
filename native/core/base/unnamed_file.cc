#include "core/base/unnamed_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/base/error.h"
#include "core/base/page.h"
#include "core/base/path.h"

namespace soswap {
namespace {

[[noreturn]] void Refuse(const std::string& subject, const std::string& reason) {
  throw Error(Fault::kSystem, "create a file for", subject, reason);
}

// A mount option or a security policy may forbid it.
bool CanMapExecutable(int fd) {
  void* address = mmap(nullptr, PageSize(), PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
  if (address == MAP_FAILED) return false;
  munmap(address, PageSize());
  return true;
}

FileDescriptor CreateInMemory(const std::string& subject) {
  constexpr size_t kLongestName = 200;  // memfd_create(2) takes 249 bytes
  const std::string name(LastPart(subject).substr(0, kLongestName));
  FileDescriptor fd(memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return fd;
  // The kernel grants write leases (core/copy/lease.h) only on files opened by open(2).
  const std::string path = "/proc/self/fd/" + std::to_string(fd.get());
  FileDescriptor opened(open(path.c_str(), O_RDWR | O_CLOEXEC));
  return opened.valid() ? std::move(opened) : std::move(fd);
}

FileDescriptor CreateInDirectory(const std::string& subject) {
  const char* directory = std::getenv("TMPDIR");
  std::string name = directory != nullptr && *directory != '\0' ? directory : "/tmp";
  FileDescriptor fd(open(name.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (fd.valid()) return fd;
  name += "/soswap-XXXXXX";
  fd = FileDescriptor(mkostemp(name.data(), O_CLOEXEC));
  if (!fd.valid()) Refuse(subject, std::string("no file in $TMPDIR: ") + std::strerror(errno));
  unlink(name.c_str());
  return fd;
}

}  // namespace

FileDescriptor CreateUnnamedFile(const std::string& subject, Storage storage, FileUse use) {
  const auto is_usable = [use](const FileDescriptor& file) {
    return file.valid() && (use == FileUse::kData || CanMapExecutable(file.get()));
  };
  if (storage == Storage::kMemory) {
    FileDescriptor file = CreateInMemory(subject);
    if (is_usable(file)) return file;
  }
  FileDescriptor file = CreateInDirectory(subject);
  if (!is_usable(file)) Refuse(subject, "$TMPDIR does not allow executable files");
  return file;
}

}  // namespace soswap
