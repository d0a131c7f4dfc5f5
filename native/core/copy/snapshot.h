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
    kLoadable,  // without what is for debuggers, where that is megabytes
    kWhole,
  };

  // Copies the file. A copy is consistent or an error: it never mixes two states of the file.
  // Throws Error: kNotFound, kNotAFile, kUnreadable, kChangedWhileRead, kSystem.
  static std::shared_ptr<Snapshot> Take(const std::string& path, Storage storage,
                                        Extent extent = Extent::kLoadable);

  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;
  ~Snapshot();

  const FileIdentity& source() const noexcept { return source_; }

  // Whether somebody had the file open for writing when the copy began, as far as the system tells
  // (a lease can be asked for by the file's owner only, fcntl(2) F_SETLEASE).
  bool open_for_writing() const noexcept { return open_for_writing_; }

  // As many bytes as the file has. Those that were not copied may be anything.
  std::span<const std::byte> bytes() const noexcept { return {memory_->data(), source_.size}; }

  // The same bytes, to be edited before anybody else knows the snapshot.
  std::span<std::byte> editable() noexcept { return {memory_->data(), source_.size}; }

  // Whether all of the file was copied.
  bool whole() const noexcept { return copied_.front() == FileRange{0, source_.size}; }

  int descriptor() const noexcept { return memory_->descriptor(); }

  // A name for dlopen(3) that opens this snapshot: a new one at every call, see
  // core/base/loader_name.h.
  std::string NewLoaderName() const;

  // Whether the same parts of both were copied, and hold the same bytes.
  bool SameBytesAs(const Snapshot& other) const noexcept;

 private:
  // Null if another file came to the path meanwhile.
  static std::shared_ptr<Snapshot> TakeUnlessReplaced(const std::string& path, Storage storage,
                                                      Extent extent);

  Snapshot(const FileIdentity& source, bool open_for_writing,
           std::unique_ptr<SnapshotMemory> memory);

  void Copy(int file, const FileRange& range, const std::string& path);

  FileIdentity source_;
  bool open_for_writing_;
  std::unique_ptr<SnapshotMemory> memory_;
  std::vector<FileRange> copied_;
  mutable std::atomic<bool> named_{false};  // the loader may have mapped it
};

}  // namespace soswap
