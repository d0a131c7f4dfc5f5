#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/base/file_descriptor.h"
#include "core/base/unnamed_file.h"

namespace soswap {

// Where the bytes of a snapshot lie: a sealed memfd that nothing but one mapping of this process
// can write, or an unlinked file where the system does not let a memfd be mapped executable. The
// mapping stays writable, because to protect it and unprotect it again costs as much as the copy; a
// page before it and one behind it, which nobody can touch, stop whatever runs over the end of a
// buffer.
//
// What a new page costs is most of what a copy costs, so a memory that is no longer needed is kept
// for the next copy of a file of that name. The kernel must vouch that nobody has it open or mapped
// any more, in whichever process: not the loader, not a debugger, not a child.
class SnapshotMemory final {
 public:
  // Room for `size` bytes of the file at `path`. They hold anything. Any thread. Throws Error:
  // kSystem.
  static std::unique_ptr<SnapshotMemory> Borrow(const std::string& path, uint64_t size,
                                                Storage storage);

  // Frees the memory, or, if that is `worth_it` and safe, keeps it for the next one who borrows.
  // Any thread.
  static void GiveBack(std::unique_ptr<SnapshotMemory> memory, bool worth_it);

  SnapshotMemory(const SnapshotMemory&) = delete;
  SnapshotMemory& operator=(const SnapshotMemory&) = delete;
  ~SnapshotMemory();

  std::byte* data() const noexcept { return data_; }
  int descriptor() const noexcept { return fd_.get(); }

  // Makes sure that these bytes have memory: without it a full disk is a SIGBUS. Throws Error:
  // kSystem.
  void Allocate(uint64_t offset, uint64_t size, const std::string& path);

 private:
  SnapshotMemory(std::string name, size_t capacity, Storage storage, const std::string& path);

  // Whether nobody else has it open or mapped.
  bool IsUnused() const noexcept;

  std::string name_;
  size_t capacity_;
  Storage storage_;
  FileDescriptor fd_;
  std::byte* data_ = nullptr;
  uint64_t allocated_ = 0;  // bytes from the beginning on
};

}  // namespace soswap
