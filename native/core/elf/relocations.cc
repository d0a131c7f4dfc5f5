#include "core/elf/relocations.h"

#include <elf.h>

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <string>
#include <utility>

#include "core/base/page.h"
#include "core/elf/relocation_kind.h"

namespace soswap::elf {
namespace {

// DT_INIT_ARRAY and the like: after relocation each slot must hold the address of code.
class CallTable final {
 public:
  CallTable(const Startup& startup, std::int64_t tag, std::int64_t size_tag, const char* name)
      : name_(name) {
    const auto address = startup.dynamic.Find(tag);
    if (!address) return;
    range_ = {*address, startup.dynamic.Require(size_tag, std::string(name) + "SZ")};
    if (range_.size == 0) return;
    content_ = startup.memory.Read(range_.start, range_.size, name);
    is_code_.assign(content_.Count<Elf64_Addr>(), false);
  }

  const Range& range() const noexcept { return range_; }

  void Fill(std::uint64_t address, std::uint64_t width, bool is_code) {
    const std::uint64_t place = address - range_.start;
    const std::uint64_t slot = place / sizeof(Elf64_Addr);
    if (place % sizeof(Elf64_Addr) != 0 || width != sizeof(Elf64_Addr) || slot >= is_code_.size()) {
      Malformed(std::string("a relocation cuts through a slot of ") + name_);
    }
    if (!is_code || is_code_[slot]) {
      Malformed(std::string("a relocation spoils a slot of ") + name_);
    }
    is_code_[slot] = true;
  }

  std::uint64_t ContentAt(std::uint64_t address) const {
    return content_.Read<Elf64_Addr>(address - range_.start);
  }

  void CheckFilled() const {
    if (std::find(is_code_.begin(), is_code_.end(), false) == is_code_.end()) return;
    Malformed(std::string(name_) + " has a slot that no relocation makes the address of code");
  }

 private:
  const char* name_;
  Range range_;
  View content_;
  std::vector<bool> is_code_;
};

// Memory that relocations may change. On these machines entries replace a word instead of adding to
// it: if two change one word, one of them belongs to another place, which stays unrelocated.
struct Target {
  explicit Target(const Segment& segment)
      : memory{segment.address, segment.memory_size},
        first_word(segment.address / sizeof(Elf64_Addr)),
        relocated(segment.file_size / sizeof(Elf64_Addr) + 1) {}

  // Marks the word and returns whether it was unmarked. Ignores words that are not aligned or do
  // not come from the file.
  bool Mark(std::uint64_t address) {
    const std::uint64_t word = address / sizeof(Elf64_Addr) - first_word;
    if (address % sizeof(Elf64_Addr) != 0 || word >= relocated.size()) return true;
    if (relocated[word]) return false;
    relocated[word] = true;
    return true;
  }

  Range memory;
  std::uint64_t first_word;
  std::vector<bool> relocated;
};

class Checker final {
 public:
  explicit Checker(const Startup& startup)
      : startup_(startup), relro_{PageFloor(startup.relro.start), 0} {
    relro_.size = PageFloor(startup.relro.start + startup.relro.size) - relro_.start;
    FindTargets();
    FindGuarded();
    tables_.emplace_back(startup, DT_PREINIT_ARRAY, DT_PREINIT_ARRAYSZ, "DT_PREINIT_ARRAY");
    tables_.emplace_back(startup, DT_INIT_ARRAY, DT_INIT_ARRAYSZ, "DT_INIT_ARRAY");
    tables_.emplace_back(startup, DT_FINI_ARRAY, DT_FINI_ARRAYSZ, "DT_FINI_ARRAY");
  }

  std::vector<bool> Referred() && { return std::move(referred_); }

  void Run() {
    CheckPairs();
    CheckSupported();
    CheckRelative();
    CheckTable(DT_RELA, "DT_RELA", DT_RELASZ, "DT_RELASZ");
    CheckProcedureLinkage();
    CheckCode(DT_INIT, "DT_INIT");
    CheckCode(DT_FINI, "DT_FINI");
    for (const CallTable& table : tables_) table.CheckFilled();
    if (has_empty_) CheckReferred();
  }

 private:
  const Dynamic& dynamic() const { return startup_.dynamic; }
  const Memory& memory() const { return startup_.memory; }

  void FindTargets() {
    for (const Segment& segment : memory().segments()) {
      if (startup_.changes_text || (segment.flags & PF_W) != 0) targets_.emplace_back(segment);
    }
  }

  // Memory that the loader reads while it relocates. It changes two parts of this memory itself: it
  // adds the base address to the dynamic section and writes two addresses into DT_PLTGOT.
  void FindGuarded() {
    guarded_.push_back(startup_.dynamic_section);
    if (dynamic().Has(DT_JMPREL) && !startup_.binds_now) {
      guarded_.push_back({dynamic().Find(DT_PLTGOT).value_or(0), 3 * sizeof(Elf64_Addr)});
    }
    const std::size_t changed = guarded_.size();
    Guard(changed, startup_.program_headers);
    const Symbols& symbols = startup_.symbols;
    Guard(changed, DT_STRTAB, dynamic().Find(DT_STRSZ).value_or(0));
    Guard(changed, DT_SYMTAB, symbols.count() * sizeof(Elf64_Sym));
    Guard(changed, DT_VERSYM, symbols.count() * sizeof(Elf64_Half));
    Guard(changed, DT_VERDEF, symbols.versions().defined_size());
    Guard(changed, DT_VERNEED, symbols.versions().needed_size());
    Guard(changed, DT_HASH, symbols.sysv_hash_size());
    Guard(changed, DT_GNU_HASH, symbols.gnu_hash_size());
    Guard(changed, DT_RELA, dynamic().Find(DT_RELASZ).value_or(0));
    Guard(changed, DT_JMPREL, dynamic().Find(DT_PLTRELSZ).value_or(0));
    Guard(changed, DT_RELR, dynamic().Find(DT_RELRSZ).value_or(0));
  }

  // Tables are read-only in almost all objects and then need no guard against relocations.
  void Guard(std::size_t changed, std::int64_t tag, std::uint64_t size) {
    const auto address = dynamic().Find(tag);
    if (address) Guard(changed, {*address, size});
  }

  void Guard(std::size_t changed, const Range& table) {
    if (table.size == 0) return;
    for (std::size_t i = 0; i < changed; ++i) {
      if (guarded_[i].Overlaps(table.start, table.size)) {
        Malformed("the table at " + Hex(table.start) + " lies in memory that the loader changes");
      }
    }
    const bool can_change = std::any_of(
        targets_.begin(), targets_.end(),
        [&](const Target& target) { return target.memory.Overlaps(table.start, table.size); });
    if (can_change) guarded_.push_back(table);
  }

  void CheckSupported() const {
    // glibc asserts each of these, and an assertion in the loader ends the process.
    CheckEntrySize(DT_RELA, DT_RELAENT, sizeof(Elf64_Rela), "DT_RELAENT");
    CheckEntrySize(DT_RELR, DT_RELRENT, sizeof(Elf64_Relr), "DT_RELRENT");
    if (dynamic().Find(DT_RELSZ).value_or(0) != 0) {
      Malformed("DT_REL is not a kind of relocation this machine has");
    }
    if (const auto kind = dynamic().Find(DT_PLTREL); kind && *kind != DT_RELA) {
      Malformed("DT_PLTREL is not DT_RELA");
    }
  }

  // A size without its table comes from a damaged tag.
  void CheckPairs() const {
    struct Pair {
      std::int64_t table;
      std::int64_t size;
      const char* name;
    };
    constexpr std::array kPairs{Pair{DT_RELA, DT_RELASZ, "DT_RELA"},
                                Pair{DT_RELR, DT_RELRSZ, "DT_RELR"},
                                Pair{DT_JMPREL, DT_PLTRELSZ, "DT_JMPREL"},
                                Pair{DT_PREINIT_ARRAY, DT_PREINIT_ARRAYSZ, "DT_PREINIT_ARRAY"},
                                Pair{DT_INIT_ARRAY, DT_INIT_ARRAYSZ, "DT_INIT_ARRAY"},
                                Pair{DT_FINI_ARRAY, DT_FINI_ARRAYSZ, "DT_FINI_ARRAY"},
                                Pair{DT_VERDEF, DT_VERDEFNUM, "DT_VERDEF"},
                                Pair{DT_VERNEED, DT_VERNEEDNUM, "DT_VERNEED"}};
    for (const Pair& pair : kPairs) {
      if (dynamic().Find(pair.size).value_or(0) != 0) dynamic().Require(pair.table, pair.name);
    }
  }

  void CheckEntrySize(std::int64_t table, std::int64_t tag, std::uint64_t size,
                      const char* name) const {
    if (dynamic().Has(table) && dynamic().Require(tag, name) != size) {
      Malformed(std::string(name) + " is not " + std::to_string(size));
    }
  }

  void CheckTable(std::int64_t tag, const char* name, std::int64_t size_tag,
                  const char* size_name) {
    const auto address = dynamic().Find(tag);
    if (!address) return;
    std::uint64_t size = dynamic().Require(size_tag, size_name);
    if (tag == DT_RELA) size -= SizeCountedTwice(*address, size);
    if (size == 0) return;
    if (size % sizeof(Elf64_Rela) != 0) Malformed(std::string(name) + " ends within an entry");
    const View table = memory().Read(*address, size, name);
    const std::size_t count = table.Count<Elf64_Rela>();
    std::size_t relative = 0;  // entries at the beginning
    for (std::size_t i = 0; i < count; ++i) {
      const auto entry = table.At<Elf64_Rela>(i);
      const Kind kind = KindOf(ELF64_R_TYPE(entry.r_info));
      if (tag == DT_JMPREL) CheckIsCall(entry, kind);
      if (kind.effect == Effect::kRelative && relative == i) ++relative;
      Check(entry, kind);
    }
    if (tag == DT_RELA) CheckRelativeCount(count, relative);
  }

  // Some linkers count DT_JMPREL in both sizes if it is the end of DT_RELA.
  std::uint64_t SizeCountedTwice(std::uint64_t address, std::uint64_t size) const {
    const auto calls = dynamic().Find(DT_JMPREL);
    const std::uint64_t calls_size = dynamic().Find(DT_PLTRELSZ).value_or(0);
    if (!calls || calls_size > size || *calls - address != size - calls_size) return 0;
    return calls_size;
  }

  // The loader applies the first DT_RELACOUNT entries without checking their type.
  void CheckRelativeCount(std::uint64_t held, std::uint64_t relative) const {
    const std::uint64_t count = dynamic().Find(DT_RELACOUNT).value_or(0);
    if (count > held) Malformed("DT_RELACOUNT counts more than DT_RELA holds");
    if (count > relative) Malformed("DT_RELACOUNT counts an entry that is not relative");
  }

  void CheckProcedureLinkage() {
    if (!dynamic().Has(DT_PLTREL) && !dynamic().Has(DT_JMPREL)) return;
    dynamic().Require(DT_PLTREL, "DT_PLTREL");
    dynamic().Require(DT_JMPREL, "DT_JMPREL");
    if (!startup_.binds_now) {
      const std::uint64_t got = dynamic().Require(DT_PLTGOT, "DT_PLTGOT");
      if (!memory().Holds(got, 3 * sizeof(Elf64_Addr), PF_R | PF_W)) {
        Malformed("DT_PLTGOT lies outside writable memory");
      }
      CheckReserved(got);
    }
    CheckTable(DT_JMPREL, "DT_JMPREL", DT_PLTRELSZ, "DT_PLTRELSZ");
  }

  // The loader stores its link map and its resolver in the second and the third word. If the second
  // word is not 0, it assumes an address that prelink(8) wrote there.
  void CheckReserved(std::uint64_t got) const {
    const View words = memory().Read(got, 3 * sizeof(Elf64_Addr), "DT_PLTGOT");
    if (words.At<Elf64_Addr>(1) != 0 || words.At<Elf64_Addr>(2) != 0) {
      Malformed("DT_PLTGOT does not begin with the words reserved for the loader");
    }
  }

  // Lazy binding supports only these kinds. It writes the slot at the first call, after
  // PT_GNU_RELRO took effect.
  void CheckIsCall(const Elf64_Rela& entry, const Kind& kind) const {
    const Effect effect = kind.effect;
    if (effect != Effect::kCall && effect != Effect::kIndirect && effect != Effect::kThread) {
      Malformed("DT_JMPREL holds a relocation that is not for a call");
    }
    if (!startup_.binds_now && effect == Effect::kCall && relro_.Contains(entry.r_offset, 1)) {
      Malformed("a slot that is bound lazily lies in PT_GNU_RELRO");
    }
  }

  void Check(const Elf64_Rela& entry, const Kind& kind) {
    const std::uint64_t index = ELF64_R_SYM(entry.r_info);
    if (kind.effect == Effect::kRelative && index == STN_UNDEF) {
      const auto addend = static_cast<std::uint64_t>(entry.r_addend);
      return CheckRelativeAt(entry.r_offset, [addend](const CallTable&) { return addend; });
    }
    // The loader looks up the version of the symbol before it checks the type.
    startup_.symbols.Admit(memory(), index);
    has_empty_ |= kind.effect == Effect::kNone;
    if (kind.effect == Effect::kNone || kind.effect == Effect::kUnknown) return;
    if (referred_.size() <= index) referred_.resize(startup_.symbols.count());
    referred_[index] = true;
    const Elf64_Sym symbol = startup_.symbols.At(index);
    CheckTarget(entry.r_offset, kind.width);
    CheckEffect(entry, kind, index, symbol);
    FillTables(entry.r_offset, kind.width,
               [&](const CallTable&) { return LeavesCode(entry, kind, symbol); });
  }

  void CheckEffect(const Elf64_Rela& entry, const Kind& kind, std::uint64_t index,
                   const Elf64_Sym& symbol) const {
    const auto addend = static_cast<std::uint64_t>(entry.r_addend);
    switch (kind.effect) {
      case Effect::kRelative:
      case Effect::kIndirect:
        if (index != STN_UNDEF) Malformed("a relative relocation refers to a symbol");
        if (!IsCode(addend)) {
          Malformed("an indirect function at " + Hex(addend) + " has no code");
        }
        break;
      case Effect::kSlot:
      case Effect::kCall:
        if (entry.r_offset % sizeof(Elf64_Addr) != 0 || index == STN_UNDEF || addend != 0) {
          Malformed("the slot of the global offset table at " + Hex(entry.r_offset) +
                    " is not aligned, has no symbol, or not its very address");
        }
        break;
      case Effect::kThread:
        CheckThread(symbol);
        break;
      case Effect::kSize:
        if (symbol.st_shndx == SHN_UNDEF && ELF64_ST_BIND(symbol.st_info) == STB_WEAK) {
          Malformed("a relocation asks for the size of a symbol that may be missing");
        }
        break;
      case Effect::kCopy:
        Malformed("a copy relocation, which only programs have");
      default:
        break;
    }
  }

  // The loader divides by the alignment of the PT_TLS that belongs to the symbol. Local symbols,
  // such as the sections that gold refers to, belong to this object.
  void CheckThread(const Elf64_Sym& symbol) const {
    const bool is_local = ELF64_ST_BIND(symbol.st_info) == STB_LOCAL;
    if (!is_local && ELF64_ST_TYPE(symbol.st_info) != STT_TLS) {
      Malformed("a thread-local relocation refers to a symbol that is not");
    }
    if ((is_local || symbol.st_shndx != SHN_UNDEF) && !startup_.has_tls) {
      Malformed("a thread-local relocation, but no PT_TLS");
    }
  }

  void CheckTarget(std::uint64_t address, std::uint64_t width) {
    if (!plain_.Contains(address, width)) LookAround(address, width);
    if (width == sizeof(Elf64_Addr) && !target_->Mark(address)) {
      Malformed("two relocations change " + Hex(address));
    }
  }

  // Finds the target, refuses guarded memory, and remembers the range around it that needs no other
  // check: most relocations lie close to the one before.
  void LookAround(std::uint64_t address, std::uint64_t width) {
    target_ = &TargetAt(address, width);
    plain_ = target_->memory;
    for (const Range& range : guarded_) {
      if (range.Overlaps(address, width)) {
        Malformed("a relocation changes " + Hex(address) + ", which belongs to the loader");
      }
      plain_ = plain_.Without(range, address);
    }
    for (const CallTable& table : tables_) plain_ = plain_.Without(table.range(), address);
  }

  // `leaves_code` returns whether the relocation leaves the address of code in that table.
  template <typename LeavesCodeIn>
  void FillTables(std::uint64_t address, std::uint64_t width, const LeavesCodeIn& leaves_code) {
    if (plain_.Contains(address, width)) return;
    for (CallTable& table : tables_) {
      if (table.range().Overlaps(address, width)) table.Fill(address, width, leaves_code(table));
    }
  }

  Target& TargetAt(std::uint64_t address, std::uint64_t width) {
    for (Target& target : targets_) {
      if (target.memory.Contains(address, width)) return target;
    }
    Malformed("a relocation changes " + Hex(address) + ", which is not writable memory");
  }

  bool IsCode(std::uint64_t address) const {
    return address % kCodeAlignment == 0 && memory().Holds(address, 1, PF_X) &&
           !relro_.Contains(address, 1);
  }

  bool LeavesCode(const Elf64_Rela& entry, const Kind& kind, const Elf64_Sym& symbol) const {
    switch (kind.effect) {
      case Effect::kIndirect:
        return true;
      case Effect::kSymbol:
        // An undefined symbol that no object defines is an error of its own, unless it is weak.
        if (IsImport(symbol)) return ELF64_ST_BIND(symbol.st_info) != STB_WEAK;
        return IsCode(symbol.st_value + static_cast<std::uint64_t>(entry.r_addend));
      default:
        return false;
    }
  }

  // DT_RELR: an even entry is an address to relocate; an odd one is a bitmap of the 63 words after.
  void CheckRelative() {
    const auto address = dynamic().Find(DT_RELR);
    if (!address) return;
    const std::uint64_t size = dynamic().Require(DT_RELRSZ, "DT_RELRSZ");
    if (size % sizeof(Elf64_Relr) != 0) Malformed("DT_RELR ends within an entry");
    if (size == 0) return;
    RequireGlibc(36, "DT_RELR");
    const View table = memory().Read(*address, size, "DT_RELR");
    std::optional<std::uint64_t> next;
    for (std::size_t i = 0; i < table.Count<Elf64_Relr>(); ++i) {
      const auto entry = table.At<Elf64_Relr>(i);
      if ((entry & 1) == 0) {
        CheckRelativeAt(entry);
        next = entry + sizeof(Elf64_Addr);
        continue;
      }
      if (!next) Malformed("DT_RELR begins with a bitmap");
      for (std::uint64_t bits = entry >> 1; bits != 0; bits &= bits - 1) {
        CheckRelativeAt(*next + static_cast<std::uint64_t>(std::countr_zero(bits)) * 8);
      }
      *next += 63 * sizeof(Elf64_Addr);
    }
  }

  // `addend_in` returns the address, before relocation, for a word of that table.
  template <typename AddendIn>
  void CheckRelativeAt(std::uint64_t address, const AddendIn& addend_in) {
    CheckTarget(address, sizeof(Elf64_Addr));
    FillTables(address, sizeof(Elf64_Addr),
               [&](const CallTable& table) { return IsCode(addend_in(table)); });
  }

  // Such a relocation adds the base address to the content of the word.
  void CheckRelativeAt(std::uint64_t address) {
    CheckRelativeAt(address, [&](const CallTable& table) { return table.ContentAt(address); });
  }

  // Linkers may leave entries empty that they do not need. If an import has no entry either, bytes
  // were lost.
  void CheckReferred() const {
    for (std::size_t i = 1; i < startup_.symbols.count(); ++i) {
      const Elf64_Sym symbol = startup_.symbols.At(i);
      if (symbol.st_shndx != SHN_UNDEF || (i < referred_.size() && referred_[i])) continue;
      // Data may be imported under two names, of which one is used.
      if (ELF64_ST_TYPE(symbol.st_info) == STT_OBJECT) continue;
      Malformed("empty relocations, and none for '" + std::string(startup_.symbols.NameOf(symbol)) +
                "'");
    }
  }

  void CheckCode(std::int64_t tag, const char* name) const {
    const auto address = dynamic().Find(tag);
    if (address && !IsCode(*address)) Malformed(std::string(name) + " is not the address of code");
  }

  const Startup& startup_;
  Range relro_;
  std::vector<Range> guarded_;
  std::vector<CallTable> tables_;
  std::vector<Target> targets_;
  Target* target_ = nullptr;    // of the last relocation
  Range plain_;                 // part of the target without guarded memory and call tables
  std::vector<bool> referred_;  // symbols that an entry refers to
  bool has_empty_ = false;      // an entry that does nothing
};

}  // namespace

std::vector<bool> CheckStartup(const Startup& startup) {
  Checker checker(startup);
  checker.Run();
  return std::move(checker).Referred();
}

}  // namespace soswap::elf
