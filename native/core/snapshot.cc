#include "snapshot.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "error.h"

// Linux 5.1; the headers of older C libraries lack it.
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace soswap {
namespace {

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;

// Time stamps move in steps of the kernel's tick, 10 ms at most: a second write within one step
// leaves them as they are. A file younger than this is read twice.
constexpr int64_t kTimeStampStep = 20'000'000;

std::string SystemText(int error_number) { return std::strerror(error_number); }

[[noreturn]] void ThrowFileError(const std::string& path, int error_number) {
  // ENXIO: a socket, or a device without hardware.
  const Fault fault = error_number == ENOENT || error_number == ENOTDIR ? Fault::kNotFound
                      : error_number == ENXIO                           ? Fault::kNotAFile
                                                                        : Fault::kUnreadable;
  throw Error(fault, "read", path, SystemText(error_number));
}

[[noreturn]] void ThrowSystemError(const std::string& path, const char* what, int error_number) {
  throw Error(Fault::kSystem, "take a snapshot of", path,
              std::string(what) + ": " + SystemText(error_number));
}

int64_t Nanoseconds(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * kNanosecondsPerSecond + time.tv_nsec;
}

FileIdentity Identify(int fd, const std::string& path) {
  struct stat status {};
  if (fstat(fd, &status) != 0) ThrowFileError(path, errno);
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

FileDescriptor OpenForReading(const std::string& path) {
  // O_NONBLOCK: a FIFO without a writer must not hold us. A regular file does not care.
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) ThrowFileError(path, errno);
  return fd;
}

// A read lease, fcntl(2) F_SETLEASE: granted only while nobody has the file open for writing, and
// as long as it is held, whoever wants to has to wait. Only the file's owner and root may ask for
// one.
class ReadLease final {
 public:
  explicit ReadLease(int fd) noexcept : fd_(fd) {
    // Whoever has to wait makes the kernel signal us; SIGURG is ignored by default, the usual SIGIO
    // would end the process.
    if (fcntl(fd_, F_SETSIG, SIGURG) != 0) return;
    held_ = fcntl(fd_, F_SETLEASE, F_RDLCK) == 0;
    refused_ = !held_ && errno == EAGAIN;
  }
  ReadLease(const ReadLease&) = delete;
  ReadLease& operator=(const ReadLease&) = delete;
  ~ReadLease() {
    if (held_) fcntl(fd_, F_SETLEASE, F_UNLCK);
  }

  bool held() const noexcept { return held_; }
  // Somebody has the file open for writing.
  bool refused() const noexcept { return refused_; }

 private:
  int fd_;
  bool held_ = false;
  bool refused_ = false;
};

// Linux maps a memfd executable unless a security policy forbids it.
bool CanMapExecutable(int fd) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* address = mmap(nullptr, page, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
  if (address == MAP_FAILED) return false;
  munmap(address, page);
  return true;
}

FileDescriptor CreateMemory(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  constexpr size_t kLongestName = 200;  // memfd_create(2) takes 249 bytes
  return FileDescriptor(
      memfd_create(name.substr(0, kLongestName).c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
}

FileDescriptor CreatePrivateFile() {
  const char* directory = std::getenv("TMPDIR");
  std::string name = directory != nullptr && *directory != '\0' ? directory : "/tmp";
  FileDescriptor fd(open(name.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (fd.valid()) return fd;
  name += "/soswap-XXXXXX";
  fd = FileDescriptor(mkostemp(name.data(), O_CLOEXEC));
  if (fd.valid()) unlink(name.c_str());
  return fd;
}

FileDescriptor CreateStorage(const std::string& path, Snapshot::Storage storage) {
  if (storage == Snapshot::Storage::kMemory) {
    FileDescriptor memory = CreateMemory(path);
    if (memory.valid() && CanMapExecutable(memory.get())) return memory;
  }
  FileDescriptor file = CreatePrivateFile();
  if (!file.valid()) ThrowSystemError(path, "no private file in $TMPDIR", errno);
  if (!CanMapExecutable(file.get())) {
    ThrowSystemError(path, "$TMPDIR does not allow executable files", errno);
  }
  return file;
}

[[noreturn]] void ThrowChanged(const std::string& path) {
  throw Error(Fault::kChangedWhileRead, "take a snapshot of", path,
              "it changed while it was being read");
}

// Reads up to `size` bytes at `offset`; fewer only at the end of the file.
size_t ReadAt(int fd, std::byte* target, size_t size, size_t offset, const std::string& path) {
  size_t done = 0;
  while (done < size) {
    const ssize_t count = pread(fd, target + done, size - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) ThrowFileError(path, errno);
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  return done;
}

// Two equal readings, one after the other, prove that the file held just these bytes in between.
void ReadAgain(int fd, std::span<const std::byte> first, const std::string& path) {
  constexpr size_t kChunk = 65536;
  std::vector<std::byte> chunk(std::min(kChunk, first.size()));
  for (size_t offset = 0; offset < first.size(); offset += chunk.size()) {
    const size_t size = std::min(chunk.size(), first.size() - offset);
    if (ReadAt(fd, chunk.data(), size, offset, path) != size ||
        std::memcmp(chunk.data(), first.data() + offset, size) != 0) {
      ThrowChanged(path);
    }
  }
}

bool IsYoung(const FileIdentity& identity) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const int64_t newest = std::max(identity.mtime_ns, identity.ctime_ns);
  return Nanoseconds(now) - newest < kTimeStampStep;
}

}  // namespace

std::shared_ptr<Snapshot> Snapshot::Take(const std::string& path, Storage storage) {
  constexpr int kMostReplacements = 10;
  for (int replacements = 0; replacements < kMostReplacements; ++replacements) {
    if (auto snapshot = TakeUnlessReplaced(path, storage)) return snapshot;
  }
  ThrowChanged(path);
}

std::shared_ptr<Snapshot> Snapshot::TakeUnlessReplaced(const std::string& path, Storage storage) {
  const FileDescriptor file = OpenForReading(path);
  const ReadLease lease(file.get());
  const FileIdentity before = Identify(file.get(), path);
  std::shared_ptr<Snapshot> snapshot(
      new Snapshot(before, lease.refused(), CreateStorage(path, storage)));
  if (before.size > 0) {
    const int copy = snapshot->fd_.get();
    if (ftruncate(copy, static_cast<off_t>(before.size)) != 0) {
      ThrowSystemError(path, "ftruncate", errno);
    }
    // Without this a full disk or memory would be a SIGBUS below. (Before Linux 3.5: not
    // supported.)
    if (fallocate(copy, 0, 0, static_cast<off_t>(before.size)) != 0 && errno != EOPNOTSUPP) {
      ThrowSystemError(path, "no room for the copy", errno);
    }
    void* address = mmap(nullptr, before.size, PROT_READ | PROT_WRITE, MAP_SHARED, copy, 0);
    if (address == MAP_FAILED) ThrowSystemError(path, "mmap", errno);
    snapshot->data_ = static_cast<std::byte*>(address);
    if (ReadAt(file.get(), snapshot->data_, before.size, 0, path) != before.size) {
      ThrowChanged(path);
    }
  }
  if (!lease.held() && IsYoung(before)) ReadAgain(file.get(), snapshot->bytes(), path);
  if (Identify(file.get(), path) == before) return snapshot;
  // A file that loses its name changes too. Then there is another one to be taken.
  const FileIdentity now = Identify(OpenForReading(path).get(), path);
  if (now.inode != before.inode || now.device != before.device) return nullptr;
  ThrowChanged(path);
}

Snapshot::Snapshot(const FileIdentity& source, bool open_for_writing, FileDescriptor fd)
    : source_(source), open_for_writing_(open_for_writing), fd_(std::move(fd)) {}

Snapshot::~Snapshot() {
  if (data_ != nullptr) munmap(data_, source_.size);
}

void Snapshot::Seal() {
  if (data_ != nullptr) mprotect(data_, source_.size, PROT_READ);
  // F_SEAL_WRITE would demand that no writable mapping was ever made of what is mapped now. Fails
  // on a private file and before Linux 5.1, where nothing but the missing name keeps others away.
  fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

std::string Snapshot::NewLoaderName() const {
  // Process-wide: a descriptor number comes back after close(2), a number from here never does. Its
  // bits are spelled into the path, "/" for 0 and "./" for 1, which lead the kernel to the same
  // file. The address keeps two copies of this addon in one process apart.
  static std::atomic<uint64_t> next{1};
  constexpr int kPageBits = 12;
  constexpr int kCopyBits = 16;
  constexpr uint64_t kCopyMask = (1 << kCopyBits) - 1;
  const uint64_t copy = (reinterpret_cast<uintptr_t>(&next) >> kPageBits) & kCopyMask;
  uint64_t number = next.fetch_add(1, std::memory_order_relaxed) << kCopyBits | copy;
  // Not /proc/self: a debugger would look the name up in its own process, and gdb hangs on it.
  std::string name = "/proc/" + std::to_string(getpid()) + "/fd/";
  for (; number != 0; number >>= 1) name += (number & 1) != 0 ? "./" : "/";
  return name + std::to_string(fd_.get());
}

bool Snapshot::SameBytesAs(const Snapshot& other) const noexcept {
  return source_.size == other.source_.size &&
         (source_.size == 0 || std::memcmp(data_, other.data_, source_.size) == 0);
}

}  // namespace soswap
