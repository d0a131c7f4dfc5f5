#include "core/resolve/dependency_file.h"

#include <mutex>
#include <span>
#include <unordered_map>
#include <utility>

#include "core/base/error.h"
#include "core/base/file_descriptor.h"
#include "core/copy/source_file.h"
#include "core/loader/object_symbols.h"

namespace soswap {
namespace {

// Files by path, each with the state in which it was read.
class DependencyCache final {
 public:
  std::shared_ptr<const DependencyFile> Find(const std::string& path,
                                             const FileIdentity& identity) const {
    const std::lock_guard lock(mutex_);
    const auto found = files_.find(path);
    return found != files_.end() && found->second.identity == identity ? found->second.file
                                                                       : nullptr;
  }

  void Keep(const FileIdentity& identity, std::shared_ptr<const DependencyFile> file) {
    const std::lock_guard lock(mutex_);
    Forget(file->path());
    const std::size_t size = file->size();
    if (size > kMost) return;
    // Too many libraries for the cache are rare: then a few files are read again.
    if (size_ + size > kMost) Clear();
    const std::string& path = file->path();
    files_.emplace(path, Entry{identity, std::move(file)});
    size_ += size;
  }

 private:
  struct Entry {
    FileIdentity identity;
    std::shared_ptr<const DependencyFile> file;
  };

  static constexpr std::size_t kMost = 16 << 20;  // bytes

  void Forget(const std::string& path) {
    const auto found = files_.find(path);
    if (found == files_.end()) return;
    size_ -= found->second.file->size();
    files_.erase(found);
  }

  void Clear() {
    files_.clear();
    size_ = 0;
  }

  mutable std::mutex mutex_;
  std::unordered_map<std::string, Entry> files_;
  std::size_t size_ = 0;
};

// Never destroyed: threads may still run while the process exits.
DependencyCache& TheCache() {
  static auto* cache = new DependencyCache;
  return *cache;
}

}  // namespace

std::shared_ptr<const DependencyFile> DependencyFile::Read(const std::string& path) {
  const FileDescriptor file = OpenForReading(path);
  const FileIdentity identity = Identify(file.get(), path);
  if (auto known = TheCache().Find(path, identity)) return known;
  const bool may_change_unseen = IsYoung(identity);
  const auto bytes = std::make_unique_for_overwrite<std::byte[]>(identity.size);
  const std::size_t size = ReadAt(file.get(), bytes.get(), identity.size, 0, path);
  auto read = std::make_shared<const DependencyFile>(
      ElfFile::Parse(std::span<const std::byte>(bytes.get(), size), path));
  if (!may_change_unseen && Identify(file.get(), path) == identity) {
    TheCache().Keep(identity, read);
  }
  return read;
}

DependencyFile::DependencyFile(const ElfFile& elf)
    : path_(elf.subject()),
      facts_(elf.facts()),
      unload_(UnloadFactsOf(elf)),
      symbols_(elf.symbols().CopyTo(tables_)) {
  const ObjectSymbols& program = ProgramSymbols();
  for (std::size_t index = 1; index < symbols_.count(); ++index) {
    const Elf64_Sym symbol = symbols_.At(index);
    if (!elf::IsImport(symbol) && !elf::IsExported(symbol)) continue;
    const bool is_own = ELF64_ST_VISIBILITY(symbol.st_other) != STV_DEFAULT ||
                        (facts_.flags.symbolic && !elf::IsImport(symbol));
    if (!is_own && elf.IsReferred(index)) bound_.push_back(index);
    if (program.Find(symbols_.NameOf(symbol)) != nullptr) in_program_.push_back(index);
  }
}

std::size_t DependencyFile::size() const noexcept {
  std::size_t size = 4096;  // everything but the tables
  size += (in_program_.size() + bound_.size()) * sizeof(std::size_t);
  for (const auto& table : tables_) size += table.size();
  return size;
}

}  // namespace soswap
