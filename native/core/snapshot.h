#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "file_descriptor.h"

namespace soswap {

// Which file, and in which state, as stat(2) tells it. An inode number alone proves nothing: file
// systems use a freed one again at once.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;

  bool operator==(const FileIdentity&) const = default;
};

// A private copy of a file's bytes that nobody else can change: a sealed memfd, or an unlinked file
// where the system does not let a memfd be mapped executable. Any thread may use a sealed snapshot.
class Snapshot final {
 public:
  enum class Storage {
    kMemory,       // memfd_create(2)
    kPrivateFile,  // an unlinked file in $TMPDIR
  };

  // Copies the file. A copy is consistent or an error: it never mixes two states of the file.
  // Throws Error: kNotFound, kNotAFile, kUnreadable, kChangedWhileRead, kSystem.
  static std::shared_ptr<Snapshot> Take(const std::string& path, Storage storage);

  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;
  ~Snapshot();

  const FileIdentity& source() const noexcept { return source_; }

  // Whether somebody had the file open for writing when the copy began, as far as the system tells
  // (a lease can be asked for by the file's owner only, fcntl(2) F_SETLEASE).
  bool open_for_writing() const noexcept { return open_for_writing_; }

  std::span<const std::byte> bytes() const noexcept { return {data_, source_.size}; }

  // The same bytes, to be edited before Seal().
  std::span<std::byte> editable() noexcept { return {data_, source_.size}; }

  int descriptor() const noexcept { return fd_.get(); }

  // From here on the bytes stay as they are.
  void Seal();

  // A name for dlopen(3) that opens this snapshot. Every call returns a name that this process has
  // never given to the loader, because dlopen compares the name with those of all loaded objects
  // first and would return an older image that carries it.
  std::string NewLoaderName() const;

  bool SameBytesAs(const Snapshot& other) const noexcept;

 private:
  // Null if another file came to the path meanwhile.
  static std::shared_ptr<Snapshot> TakeUnlessReplaced(const std::string& path, Storage storage);

  Snapshot(const FileIdentity& source, bool open_for_writing, FileDescriptor fd);

  FileIdentity source_;
  bool open_for_writing_;
  FileDescriptor fd_;
  std::byte* data_ = nullptr;
};

}  // namespace soswap
