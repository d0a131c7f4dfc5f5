#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "core/elf/file.h"
#include "core/loader/unload.h"

namespace soswap {

// What loading or unmapping a library requires to know about a file that it needs. Holds a copy of
// the symbol tables, but not the file.
class DependencyFile final {
 public:
  // Reads and parses the file, or returns the cached result if the file has the same device, inode,
  // size and time stamps as when it was read. Throws Error as OpenForReading and ElfFile::Parse do.
  // Any thread.
  static std::shared_ptr<const DependencyFile> Read(const std::string& path);

  explicit DependencyFile(const ElfFile& elf);
  DependencyFile(const DependencyFile&) = delete;
  DependencyFile& operator=(const DependencyFile&) = delete;
  ~DependencyFile() = default;

  const std::string& path() const noexcept { return path_; }
  const ElfFacts& facts() const noexcept { return facts_; }
  const UnloadFacts& unload() const noexcept { return unload_; }
  const elf::Symbols& symbols() const noexcept { return symbols_; }

  // The symbols that it imports or exports and that the main program exports too.
  const std::vector<std::size_t>& in_program() const noexcept { return in_program_; }

  // The symbols that the loader binds to the first definition that it finds, in whatever object.
  const std::vector<std::size_t>& bound() const noexcept { return bound_; }

  // Approximate bytes of memory.
  std::size_t size() const noexcept;

 private:
  std::string path_;
  ElfFacts facts_;
  UnloadFacts unload_;
  std::vector<std::vector<std::byte>> tables_;
  elf::Symbols symbols_;  // refers to tables_
  std::vector<std::size_t> in_program_;
  std::vector<std::size_t> bound_;
};

}  // namespace soswap
