#include "core/copy/snapshot_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <mutex>
#include <utility>

#include "core/base/error.h"
#include "core/base/limits.h"
#include "core/base/page.h"
#include "core/base/path.h"
#include "core/copy/lease.h"

// Linux 5.1; the headers of older C libraries lack it.
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace soswap {
namespace {

// The limits of what is kept. Each spare costs a descriptor, and memory that only the next swap
// uses.
constexpr size_t kMostSpares = 64;
constexpr size_t kMostSpareBytes = size_t{256} << 20;

struct Pool {
  std::mutex mutex;
  std::unique_ptr<SnapshotMemory> spares;  // the newest, which links to the one before it
  size_t borrowed = 0;  // without a live snapshot nothing is kept: no swap will come
};

// Never destroyed: images are closed by finalizers that may run after the destructors of statics.
Pool& ThePool() {
  static auto* pool = new Pool;
  return *pool;
}

[[noreturn]] void ThrowSystemError(const std::string& path, const char* what, int error_number) {
  throw Error(Fault::kSystem, "take a snapshot of", path,
              std::string(what) + ": " + DescribeWithLimit(error_number), error_number);
}

// The next version may be larger. Pages that nobody writes take no memory.
size_t CapacityFor(uint64_t size, const std::string& path) {
  const size_t ample = std::bit_ceil(std::max(size, 4 * PageSize()));
  if (MayHaveFileOf(ample)) return ample;
  if (!MayHaveFileOf(PageCeiling(size))) ThrowSystemError(path, "no room for the copy", EFBIG);
  return PageCeiling(size);
}

size_t SizeWithFence(size_t capacity) { return capacity + 2 * PageSize(); }

// Fixes the size and forbids every write except through an existing mapping. F_SEAL_WRITE would
// forbid our own mapping. A private file cannot be sealed: only the missing name protects it.
void Seal(int fd) {
  constexpr int kSize = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  if (fcntl(fd, F_ADD_SEALS, kSize | F_SEAL_FUTURE_WRITE) == 0) return;
  fcntl(fd, F_ADD_SEALS, kSize);
}

}  // namespace

std::unique_ptr<SnapshotMemory> SnapshotMemory::Borrow(const std::string& path, uint64_t size,
                                                       Storage storage) {
  std::string name(LastPart(path));
  const size_t ample = std::bit_ceil(std::max(size, 4 * PageSize()));
  Pool& pool = ThePool();
  {
    const std::lock_guard lock(pool.mutex);
    // The newest spare is the likeliest to be in the processor's caches.
    for (auto* link = &pool.spares; *link != nullptr; link = &(*link)->older_) {
      const SnapshotMemory& spare = **link;
      if (spare.storage_ != storage || spare.name_ != name || spare.capacity_ < size ||
          spare.capacity_ > 4 * ample) {
        continue;
      }
      std::unique_ptr<SnapshotMemory> memory = std::move(*link);
      *link = std::move(memory->older_);
      ++pool.borrowed;
      return memory;
    }
  }
  std::unique_ptr<SnapshotMemory> memory(
      new SnapshotMemory(std::move(name), CapacityFor(size, path), storage, path));
  const std::lock_guard lock(pool.mutex);
  ++pool.borrowed;
  return memory;
}

void SnapshotMemory::GiveBack(std::unique_ptr<SnapshotMemory> memory, bool worth_it) noexcept {
  const bool keep = worth_it && memory->capacity_ <= kMostSpareBytes && memory->IsUnused();
  std::unique_ptr<SnapshotMemory> surplus;  // freed after the lock
  Pool& pool = ThePool();
  const std::lock_guard lock(pool.mutex);
  --pool.borrowed;
  if (keep) {
    memory->older_ = std::move(pool.spares);
    pool.spares = std::move(memory);
  }
  auto* link = &pool.spares;
  size_t bytes = 0;
  for (size_t kept = 0; pool.borrowed > 0 && kept < kMostSpares && *link != nullptr; ++kept) {
    bytes += (*link)->capacity_;
    if (bytes > kMostSpareBytes) break;
    link = &(*link)->older_;
  }
  surplus = std::move(*link);
}

SnapshotMemory::SnapshotMemory(std::string name, size_t capacity, Storage storage,
                               const std::string& path)
    : name_(std::move(name)),
      capacity_(capacity),
      storage_(storage),
      fd_(CreateUnnamedFile(path, storage, FileUse::kCode)) {
  if (ftruncate(fd_.get(), static_cast<off_t>(capacity_)) != 0) {
    ThrowSystemError(path, "ftruncate", errno);
  }
  void* fence = mmap(nullptr, SizeWithFence(capacity_), PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (fence == MAP_FAILED) ThrowSystemError(path, "mmap", errno);
  data_ = static_cast<std::byte*>(fence) + PageSize();
  if (mmap(data_, capacity_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd_.get(), 0) ==
      MAP_FAILED) {
    const int error_number = errno;
    munmap(fence, SizeWithFence(capacity_));
    ThrowSystemError(path, "mmap", error_number);
  }
  Seal(fd_.get());
}

SnapshotMemory::~SnapshotMemory() { munmap(data_ - PageSize(), SizeWithFence(capacity_)); }

void SnapshotMemory::Allocate(uint64_t offset, uint64_t size, const std::string& path) {
  if (offset + size <= allocated_) return;
  held_ = 0;
  // Before Linux 3.5 a memfd does not support this.
  if (fallocate(fd_.get(), 0, static_cast<off_t>(offset), static_cast<off_t>(size)) != 0 &&
      errno != EOPNOTSUPP) {
    ThrowSystemError(path, "no room for the copy", errno);
  }
  if (offset <= allocated_) allocated_ = offset + size;
}

uint64_t SnapshotMemory::held() noexcept {
  constexpr uint64_t kBlock = 512;  // of st_blocks, whatever the file system
  struct stat status {};
  if (held_ == 0 && fstat(fd_.get(), &status) == 0) {
    held_ = static_cast<uint64_t>(status.st_blocks) * kBlock;
  }
  return held_;
}

// A mapping counts as an open file, also one that a forked child has inherited (measured).
bool SnapshotMemory::IsUnused() const noexcept { return Lease(fd_.get(), F_WRLCK).held(); }

}  // namespace soswap
