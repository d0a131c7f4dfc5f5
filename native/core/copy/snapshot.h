#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/copy/loadable_ranges.h"
#include "core/copy/snapshot_memory.h"
#include "core/copy/source_file.h"

namespace soswap {

// A private copy of a file's bytes that nobody else can change. Any thread.
class Snapshot final {
 public:
  enum class Extent {
    kLoadable,  // without what only linkers and debuggers read
    kWhole,
  };

  // Copies the file. The copy never mixes two states of the file. Throws Error: kNotFound,
  // kNotAFile, kUnreadable, kChangedWhileRead, kSystem.
  static std::shared_ptr<Snapshot> Take(const std::string& path, Storage storage,
                                        Extent extent = Extent::kLoadable);

  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;
  ~Snapshot();

  const FileIdentity& source() const noexcept { return source_; }

  // Whether a process had the file open for writing when the copy began. False for files of other
  // owners, and on network file systems: the system does not answer.
  bool open_for_writing() const noexcept { return open_for_writing_; }

  // Whether the file system of the file was mounted noexec.
  bool on_noexec() const noexcept { return on_noexec_; }

  // As many bytes as the file has. Bytes that were not copied have any value.
  std::span<const std::byte> bytes() const noexcept { return {memory_->data(), source_.size}; }

  // The same bytes, for edits before the snapshot is loaded.
  std::span<std::byte> editable() noexcept { return {memory_->data(), source_.size}; }

  // Whether all of the file was copied.
  bool whole() const noexcept { return copied_.front() == FileRange{0, source_.size}; }

  // Bytes of memory, or of disk, that the copy holds, for as long as an image is mapped from it.
  uint64_t held() const noexcept { return held_; }

  int descriptor() const noexcept { return memory_->descriptor(); }

  // A new name for dlopen(3) at every call; see core/base/loader_name.h.
  std::string NewLoaderName() const;

  // Whether the same parts of both were copied, and hold the same bytes.
  bool SameBytesAs(const Snapshot& other) const noexcept;

 private:
  // Returns null if another file took the path during the copy.
  static std::shared_ptr<Snapshot> TakeUnlessReplaced(const std::string& path, Storage storage,
                                                      Extent extent);

  Snapshot(const FileIdentity& source, bool open_for_writing,
           std::unique_ptr<SnapshotMemory> memory);

  void Copy(int file, const FileRange& range, const std::string& path);
  // Throws Error: kChangedWhileRead if the file has other bytes now.
  void AssertStillIn(int file, const std::string& path) const;

  FileIdentity source_;
  bool open_for_writing_;
  bool on_noexec_ = false;
  std::unique_ptr<SnapshotMemory> memory_;
  std::vector<FileRange> copied_;
  uint64_t held_ = 0;
  mutable std::atomic<bool> named_{false};  // the loader may have mapped it
};

}  // namespace soswap
