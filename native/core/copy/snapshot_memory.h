#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/base/file_descriptor.h"
#include "core/base/unnamed_file.h"

namespace soswap {

// The memory of a snapshot: a sealed memory file that only one mapping of this process can write,
// or an unnamed file on disk. The mapping stays writable, because protecting it and unprotecting it
// again costs as much as the copy. An inaccessible page on either side stops a buffer overrun.
//
// New pages are most of the cost of a copy, so the memory is kept for the next copy of a file of
// that name, once the kernel confirms that no process has it open or mapped: not the loader, not a
// debugger, not a child.
class SnapshotMemory final {
 public:
  // Returns memory for `size` bytes of the file at `path`, which have any value. Any thread. Throws
  // Error: kSystem.
  static std::unique_ptr<SnapshotMemory> Borrow(const std::string& path, uint64_t size,
                                                Storage storage);

  // Frees the memory, or keeps it for the next Borrow() if that is `worth_it` and safe. Any thread.
  static void GiveBack(std::unique_ptr<SnapshotMemory> memory, bool worth_it) noexcept;

  SnapshotMemory(const SnapshotMemory&) = delete;
  SnapshotMemory& operator=(const SnapshotMemory&) = delete;
  ~SnapshotMemory();

  std::byte* data() const noexcept { return data_; }
  int descriptor() const noexcept { return fd_.get(); }

  // Bytes from the beginning on that have memory, or disk space.
  uint64_t allocated() const noexcept { return allocated_; }

  // Bytes of memory, or of disk, that it holds now.
  uint64_t held() noexcept;

  // Allocates pages for these bytes: without them, writing to a full disk is a SIGBUS. Throws
  // Error: kSystem.
  void Allocate(uint64_t offset, uint64_t size, const std::string& path);

 private:
  SnapshotMemory(std::string name, size_t capacity, Storage storage, const std::string& path);

  // Whether no other open file and no other mapping leads to it.
  bool IsUnused() const noexcept;

  std::string name_;
  size_t capacity_;
  Storage storage_;
  FileDescriptor fd_;
  std::byte* data_ = nullptr;
  uint64_t allocated_ = 0;
  uint64_t held_ = 0;                      // 0: not known
  std::unique_ptr<SnapshotMemory> older_;  // the next spare, while this is one
};

}  // namespace soswap
