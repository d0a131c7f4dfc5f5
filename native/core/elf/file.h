#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/elf/dynamic.h"
#include "core/elf/memory.h"
#include "core/elf/symbols.h"

namespace soswap {

// DT_FLAGS, DT_FLAGS_1 and the older tags that mean the same.
struct ElfFlags {
  bool no_delete = false;         // DF_1_NODELETE
  bool symbolic = false;          // DF_SYMBOLIC, DT_SYMBOLIC
  bool text_relocations = false;  // DF_TEXTREL, DT_TEXTREL
  bool bind_now = false;          // DF_BIND_NOW, DF_1_NOW, DT_BIND_NOW
  bool static_tls = false;        // DF_STATIC_TLS
};

struct ElfFacts {
  std::string machine;  // as in "x86-64", "AArch64"
  std::optional<std::string> soname;
  std::optional<std::string> build_id;  // NT_GNU_BUILD_ID in hexadecimal
  std::vector<std::string> needed;
  std::optional<std::string> runpath;
  std::optional<std::string> rpath;
  ElfFlags flags;
  bool has_tls = false;  // PT_TLS: each thread gets a copy of the object's thread-local variables
  bool is_go = false;    // built by the Go toolchain, whose runtime cannot be unmapped
  std::uint64_t memory_size = 0;  // bytes of address space an image takes
};

enum class ElfBinding { kGlobal, kWeak, kUnique };
enum class ElfType { kNone, kObject, kFunction, kThreadLocal, kIndirectFunction };

struct ElfExport {
  std::string name;
  std::uint64_t size = 0;
  ElfType type = ElfType::kNone;
  ElfBinding binding = ElfBinding::kGlobal;
  std::string version;  // empty when it has none
};

struct ElfImport {
  std::string name;
  bool weak = false;
  std::string version;  // empty: any version
};

// A shared object that dlopen(3) can load without crashing on its tables: Parse() checks everything
// that the loaders of glibc and musl follow unchecked. Parse() does not check the code in the file,
// nor anything that depends on other objects. Refers to the bytes it was parsed from, which must
// outlive it. Any thread.
class ElfFile final {
 public:
  // Throws Error: kTruncated, kNotElf, kWrongMachine, kNotSharedObject or kMalformed.
  static ElfFile Parse(std::span<const std::byte> bytes, std::string subject);

  const std::string& subject() const noexcept { return subject_; }
  const ElfFacts& facts() const noexcept { return facts_; }

  // Whether dlsym(3) on a handle of this object finds the name in the object itself, not in a
  // dependency. Constant time.
  bool Defines(std::string_view name) const;
  // Each of these walks all symbols.
  std::vector<ElfExport> Exports() const;
  std::vector<ElfImport> Imports() const;
  // Defined STB_GNU_UNIQUE symbols: once one is bound, the loader never unmaps the image.
  std::vector<std::string> UniqueSymbols() const;

  const elf::Symbols& symbols() const noexcept { return symbols_; }
  // Whether a relocation refers to this symbol.
  bool IsReferred(std::size_t symbol) const {
    return symbol < referred_.size() && referred_[symbol];
  }
  // For edits.
  const elf::Memory& memory() const noexcept { return memory_; }
  const elf::Dynamic& dynamic() const noexcept { return dynamic_; }
  std::uint64_t symbols_offset() const noexcept { return symbols_offset_; }
  std::uint64_t dynamic_offset() const noexcept { return dynamic_offset_; }

 private:
  class Parser;

  ElfFile(std::span<const std::byte> bytes, std::string subject);

  std::span<const std::byte> bytes_;
  std::string subject_;
  ElfFacts facts_;
  elf::Memory memory_;
  elf::Dynamic dynamic_;
  elf::Symbols symbols_;
  std::vector<bool> referred_;
  std::uint64_t symbols_offset_ = 0;
  std::uint64_t dynamic_offset_ = 0;
};

}  // namespace soswap
