#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "core/elf/dynamic.h"
#include "core/elf/memory.h"
#include "core/elf/view.h"

namespace soswap::elf {

// DT_VERDEF, DT_VERNEED and DT_VERSYM.
class Versions final {
 public:
  Versions() = default;
  Versions(const Memory& memory, const Dynamic& dynamic, const Strings& strings);

  // The version of a symbol; empty for the reserved ones (local, global).
  std::string_view NameOf(std::size_t symbol) const;
  // The same, ending in NUL.
  const char* TextOf(std::size_t symbol) const {
    const std::string_view name = NameOf(symbol);
    return name.empty() ? "" : name.data();
  }
  // Whether dlsym(3) finds it: it has no version, or this is the default version.
  bool FoundByDlsym(std::size_t symbol) const;
  void Check(std::size_t symbol, bool is_defined) const;
  // The versions that the object defines, without the one that is named after the object.
  std::vector<std::string_view> Defined() const;

  // See Symbols::CopyTo. `strings` are those whose copy is `copies`.
  Versions CopyTo(std::vector<std::vector<std::byte>>& tables, std::size_t symbols,
                  const Strings& strings, const Strings& copies) const;

  // Bytes of the tables; 0 without one.
  std::uint64_t defined_size() const noexcept { return defined_size_; }
  std::uint64_t needed_size() const noexcept { return needed_size_; }

 private:
  void ReadDefined(const Memory& memory, const Dynamic& dynamic, const Strings& strings);
  void ReadNeeded(const Memory& memory, const Dynamic& dynamic, const Strings& strings);
  struct Version {
    std::string_view name;
    bool is_needed = false;  // from another object
  };

  void Add(std::uint16_t index, const Version& version);
  bool Exist() const noexcept { return indices_.size() > 0; }
  std::uint16_t IndexOf(std::size_t symbol) const { return indices_.At<Elf64_Half>(symbol); }

  View indices_;
  std::vector<Version> versions_;
  std::size_t records_ = 0;
  std::uint64_t defined_size_ = 0;
  std::uint64_t needed_size_ = 0;
};

// DT_GNU_HASH
struct GnuHash {
  std::uint32_t first_symbol = 0;
  std::uint32_t shift = 0;
  View bloom;
  View buckets;
  View chain;
};

// DT_HASH
struct SysvHash {
  View buckets;
  View chain;
};

// An import of a private copy that has the address of a function of this process, see
// core/bind/bound_imports.h.
bool IsBound(const Elf64_Sym& symbol);
// A symbol that the file asks other objects for, whether it is bound or not.
bool IsImport(const Elf64_Sym& symbol);

// A symbol that other objects must define. Both texts end in NUL.
struct Import {
  std::string_view name;
  bool weak = false;
  std::string_view version;  // empty: any version
};

// DT_SYMTAB with its hash tables and versions. Every symbol below count() is checked: its name, its
// version, and whether the resolver of an indirect function is code.
class Symbols final {
 public:
  Symbols() = default;
  Symbols(const Memory& memory, const Dynamic& dynamic, std::uint64_t tls_size);

  std::size_t count() const noexcept { return count_; }
  Elf64_Sym At(std::size_t index) const { return table_.At<Elf64_Sym>(index); }
  std::string_view NameOf(const Elf64_Sym& symbol) const { return strings_.At(symbol.st_name); }
  // Bytes of the tables; 0 without one.
  std::uint64_t gnu_hash_size() const noexcept;
  std::uint64_t sysv_hash_size() const noexcept;
  const Versions& versions() const noexcept { return versions_; }
  const Strings& strings() const noexcept { return strings_; }

  // The symbol that dlsym(3) finds in this object. With a version, the symbol that the loader binds
  // an import of that version to: a definition with this version, or with none.
  std::optional<std::size_t> Find(std::string_view name, std::string_view version = {}) const;

  // The symbols that the file asks other objects for, and those that are STB_GNU_UNIQUE in the
  // file.
  const std::vector<std::size_t>& imports() const noexcept { return imports_; }
  const std::vector<std::size_t>& unique() const noexcept { return unique_; }

  // Calls `visit` for each symbol that other objects must define.
  template <typename Visit>
  void ForEachImport(const Visit& visit) const {
    for (const std::size_t i : imports_) {
      const Elf64_Sym symbol = At(i);
      if (symbol.st_name == 0) continue;
      visit(Import{NameOf(symbol), ELF64_ST_BIND(symbol.st_info) == STB_WEAK, versions_.NameOf(i)});
    }
  }

  // Returns the same symbols without the file: on a copy of their tables, which is added to
  // `tables` and must outlive them.
  Symbols CopyTo(std::vector<std::vector<std::byte>>& tables) const;

  // Counts a symbol that a relocation refers to. An object that defines nothing does not record how
  // many symbols it has; only its relocations show it.
  void Admit(const Memory& memory, std::size_t index) {
    if (index >= count_) AdmitBeyond(memory, index);
  }

 private:
  std::uint64_t gnu_chain_size() const noexcept;
  void AdmitBeyond(const Memory& memory, std::size_t index);
  void ReadGnuHash(const Memory& memory, std::uint64_t address);
  void ReadSysvHash(const Memory& memory, std::uint64_t address);
  void Add(const Memory& memory, std::size_t index);
  void Check(const Memory& memory, std::size_t index) const;
  void CheckImport(const Elf64_Sym& symbol) const;
  bool Matches(std::size_t index, std::string_view name, std::string_view version) const;
  std::optional<std::size_t> FindByGnuHash(std::string_view name, std::string_view version) const;
  std::optional<std::size_t> FindBySysvHash(std::string_view name, std::string_view version) const;

  View table_;
  Strings strings_;
  Versions versions_;
  std::optional<GnuHash> gnu_hash_;
  std::optional<SysvHash> sysv_hash_;
  std::uint64_t tls_size_ = 0;
  std::vector<std::size_t> imports_;
  std::vector<std::size_t> unique_;
  std::size_t count_ = 1;
  bool count_is_exact_ = false;
};

// The hash of DT_GNU_HASH.
std::uint32_t GnuHashOf(std::string_view name) noexcept;

// Whether other objects and dlsym(3) may bind to it.
bool IsExported(const Elf64_Sym& symbol);
// Whether the loader binds it once for the whole process (STB_GNU_UNIQUE).
bool IsUnique(const Elf64_Sym& symbol);

}  // namespace soswap::elf
