#include "core/elf/symbols.h"

#include <algorithm>
#include <bit>
#include <string>
#include <unordered_set>

namespace soswap::elf {
namespace {

constexpr std::uint16_t kVersionMask = 0x7fff;
constexpr std::uint16_t kHiddenVersion = 0x8000;
constexpr std::uint16_t kFirstNamedVersion = 2;  // after VER_NDX_LOCAL and VER_NDX_GLOBAL

std::uint32_t SysvHashOf(std::string_view name) {
  std::uint32_t hash = 0;
  for (const char c : name) {
    hash = (hash << 4) + static_cast<unsigned char>(c);
    hash ^= (hash >> 24) & 0xf0;
    hash &= 0x0fffffff;
  }
  return hash;
}

// The loader asserts that the files in DT_VERNEED are loaded. libc and the loader always are.
bool IsLoadedWith(const std::unordered_set<std::string_view>& needed, std::string_view file) {
  return needed.contains(file) || file == "libc.so.6" || file.starts_with("ld-linux-");
}

std::unordered_set<std::string_view> NeededIn(const Dynamic& dynamic, const Strings& strings) {
  std::unordered_set<std::string_view> names;
  for (std::size_t i = 0; i < dynamic.count(); ++i) {
    const Elf64_Dyn entry = dynamic.At(i);
    if (entry.d_tag == DT_NEEDED) names.insert(strings.At(entry.d_un.d_val));
  }
  return names;
}

// Chains may share a tail, but the loader would follow a chain that loops for ever.
void CheckChains(const SysvHash& hash) {
  const std::size_t count = hash.chain.Count<Elf64_Word>();
  std::vector<std::size_t> walked_by(count, 0);
  for (std::size_t bucket = 0; bucket < hash.buckets.Count<Elf64_Word>(); ++bucket) {
    auto symbol = hash.buckets.At<Elf64_Word>(bucket);
    while (symbol != STN_UNDEF) {
      if (symbol >= count) Malformed("DT_HASH refers to a symbol past its count");
      if (walked_by[symbol] == bucket + 1) Malformed("a chain of DT_HASH loops");
      if (walked_by[symbol] != 0) break;
      walked_by[symbol] = bucket + 1;
      symbol = hash.chain.At<Elf64_Word>(symbol);
    }
  }
}

}  // namespace

std::uint32_t GnuHashOf(std::string_view name) noexcept {
  std::uint32_t hash = 5381;
  for (const char c : name) hash = hash * 33 + static_cast<unsigned char>(c);
  return hash;
}

Versions::Versions(const Memory& memory, const Dynamic& dynamic, const Strings& strings) {
  ReadDefined(memory, dynamic, strings);
  ReadNeeded(memory, dynamic, strings);
  if (versions_.empty() && !dynamic.Has(DT_VERSYM)) return;
  indices_ = memory.ReadAll(dynamic.Require(DT_VERSYM, "DT_VERSYM"), "DT_VERSYM");
}

void Versions::ReadDefined(const Memory& memory, const Dynamic& dynamic, const Strings& strings) {
  const auto address = dynamic.Find(DT_VERDEF);
  if (!address) return;
  const View table = memory.ReadAll(*address, "DT_VERDEF");
  // The loader stops at vd_next == 0 and ignores DT_VERDEFNUM.
  std::uint64_t missing = dynamic.Find(DT_VERDEFNUM).value_or(0);
  for (std::uint64_t at = 0;;) {
    const auto definition = table.Read<Elf64_Verdef>(at);
    const auto name = table.Read<Elf64_Verdaux>(at + definition.vd_aux);
    Add(definition.vd_ndx, {strings.At(name.vda_name), false});
    defined_size_ =
        std::max({defined_size_, at + sizeof(definition), at + definition.vd_aux + sizeof(name)});
    if (missing > 0) --missing;
    if (definition.vd_next == 0) break;
    at += definition.vd_next;
  }
  if (missing > 0) Malformed("DT_VERDEF ends before its last record");
}

void Versions::ReadNeeded(const Memory& memory, const Dynamic& dynamic, const Strings& strings) {
  const auto address = dynamic.Find(DT_VERNEED);
  if (!address) return;
  const View table = memory.ReadAll(*address, "DT_VERNEED");
  const auto needed = NeededIn(dynamic, strings);
  std::uint64_t missing = dynamic.Find(DT_VERNEEDNUM).value_or(0);
  for (std::uint64_t at = 0;;) {
    const auto file = table.Read<Elf64_Verneed>(at);
    if (!IsLoadedWith(needed, strings.At(file.vn_file))) {
      Malformed("DT_VERNEED names '" + std::string(strings.At(file.vn_file)) +
                "', which no DT_NEEDED does");
    }
    missing += file.vn_cnt;
    for (std::uint64_t aux_at = at + file.vn_aux;;) {
      const auto version = table.Read<Elf64_Vernaux>(aux_at);
      Add(version.vna_other, {strings.At(version.vna_name), true});
      needed_size_ = std::max({needed_size_, at + sizeof(file), aux_at + sizeof(version)});
      if (missing > 0) --missing;
      if (version.vna_next == 0) break;
      aux_at += version.vna_next;
    }
    if (missing > 0) --missing;
    if (file.vn_next == 0) break;
    at += file.vn_next;
  }
  if (missing > 0) Malformed("DT_VERNEED ends before its last record");
}

void Versions::Add(std::uint16_t index, const Version& version) {
  if (++records_ > kVersionMask) Malformed("there are more version records than versions");
  const std::size_t place = index & kVersionMask;
  if (place >= versions_.size()) versions_.resize(place + 1);
  versions_[place] = version;
}

std::string_view Versions::NameOf(std::size_t symbol) const {
  if (!Exist()) return {};
  const std::size_t index = IndexOf(symbol) & kVersionMask;
  return index >= kFirstNamedVersion && index < versions_.size() ? versions_[index].name
                                                                 : std::string_view();
}

std::vector<std::string_view> Versions::Defined() const {
  std::vector<std::string_view> names;
  for (std::size_t index = kFirstNamedVersion; index < versions_.size(); ++index) {
    const Version& version = versions_[index];
    if (!version.is_needed && !version.name.empty()) names.push_back(version.name);
  }
  return names;
}

bool Versions::FoundByDlsym(std::size_t symbol) const {
  if (!Exist()) return true;
  const std::uint16_t index = IndexOf(symbol);
  return (index & kVersionMask) < kFirstNamedVersion || (index & kHiddenVersion) == 0;
}

void Versions::Check(std::size_t symbol, bool is_defined) const {
  if (!Exist()) return;
  const std::size_t index = IndexOf(symbol) & kVersionMask;
  // The loader's own table of versions ends with the highest one; without any, there is none.
  if (index != VER_NDX_LOCAL && index >= versions_.size()) {
    Malformed("DT_VERSYM gives symbol " + std::to_string(symbol) + " the unknown version " +
              std::to_string(index));
  }
  if (is_defined && index >= kFirstNamedVersion && versions_[index].is_needed) {
    Malformed("symbol " + std::to_string(symbol) + " is defined, in a version of another object");
  }
}

Versions Versions::CopyTo(std::vector<std::vector<std::byte>>& tables, std::size_t symbols,
                          const Strings& strings, const Strings& copies) const {
  Versions copy = *this;
  if (Exist()) copy.indices_ = indices_.CopyTo(tables, symbols * sizeof(Elf64_Half));
  for (Version& version : copy.versions_) {
    if (!version.name.empty()) version.name = strings.In(copies, version.name);
  }
  return copy;
}

Symbols::Symbols(const Memory& memory, const Dynamic& dynamic, std::uint64_t tls_size)
    : tls_size_(tls_size) {
  strings_ = Strings(memory.Read(dynamic.Require(DT_STRTAB, "DT_STRTAB"),
                                 dynamic.Require(DT_STRSZ, "DT_STRSZ"), "DT_STRTAB"));
  table_ = memory.ReadAll(dynamic.Require(DT_SYMTAB, "DT_SYMTAB"), "DT_SYMTAB");
  if (const auto entry = dynamic.Find(DT_SYMENT); entry && *entry != sizeof(Elf64_Sym)) {
    Malformed("DT_SYMENT is " + std::to_string(*entry) + ", not " +
              std::to_string(sizeof(Elf64_Sym)));
  }
  versions_ = Versions(memory, dynamic, strings_);
  if (const auto address = dynamic.Find(DT_GNU_HASH)) ReadGnuHash(memory, *address);
  if (const auto address = dynamic.Find(DT_HASH)) ReadSysvHash(memory, *address);
  if (count_ > table_.Count<Elf64_Sym>()) {
    Malformed("DT_SYMTAB has no room for its " + std::to_string(count_) + " symbols");
  }
  for (std::size_t i = 0; i < count_; ++i) Add(memory, i);
}

void Symbols::ReadGnuHash(const Memory& memory, std::uint64_t address) {
  const View table = memory.ReadAll(address, "DT_GNU_HASH");
  const auto bucket_count = table.At<std::uint32_t>(0);
  const auto first_symbol = table.At<std::uint32_t>(1);
  const auto bloom_count = table.At<std::uint32_t>(2);
  const auto shift = table.At<std::uint32_t>(3);
  if (!std::has_single_bit(bloom_count) || shift >= 32 || bucket_count == 0) {
    Malformed("the header of DT_GNU_HASH makes no sense");
  }
  const std::uint64_t bloom_at = 4 * sizeof(std::uint32_t);
  const std::uint64_t buckets_at = bloom_at + std::uint64_t{bloom_count} * sizeof(Elf64_Xword);
  const std::uint64_t chain_at = buckets_at + std::uint64_t{bucket_count} * sizeof(std::uint32_t);
  const View bloom = table.Part(bloom_at, buckets_at - bloom_at);
  const View buckets = table.Part(buckets_at, chain_at - buckets_at);
  const View chain = table.Part(chain_at, table.size() - chain_at);

  std::uint32_t last = 0;
  for (std::size_t i = 0; i < bucket_count; ++i) {
    const auto symbol = buckets.At<std::uint32_t>(i);
    if (symbol != 0 && symbol < first_symbol) Malformed("DT_GNU_HASH points before its chains");
    last = std::max(last, symbol);
  }
  // Chains lie one behind the other, so when the last one ends within the table, all do.
  if (last != 0) {
    while ((chain.At<std::uint32_t>(last - first_symbol) & 1) == 0) ++last;
  }
  gnu_hash_ = GnuHash{first_symbol, shift, bloom, buckets, chain};
  count_is_exact_ = last != 0;
  count_ = std::max<std::size_t>(count_, count_is_exact_ ? std::size_t{last} + 1 : first_symbol);
}

void Symbols::ReadSysvHash(const Memory& memory, std::uint64_t address) {
  const View table = memory.ReadAll(address, "DT_HASH");
  const auto bucket_count = table.At<Elf64_Word>(0);
  const auto symbol_count = table.At<Elf64_Word>(1);
  const std::uint64_t buckets_at = 2 * sizeof(Elf64_Word);
  const std::uint64_t chain_at = buckets_at + std::uint64_t{bucket_count} * sizeof(Elf64_Word);
  const std::uint64_t chain_size = std::uint64_t{symbol_count} * sizeof(Elf64_Word);
  const SysvHash hash{table.Part(buckets_at, chain_at - buckets_at),
                      table.Part(chain_at, chain_size)};
  CheckChains(hash);
  if (count_is_exact_ && count_ > symbol_count) {
    Malformed("DT_GNU_HASH knows more symbols than DT_HASH");
  }
  sysv_hash_ = hash;
  count_ = std::max<std::size_t>(symbol_count, 1);
  count_is_exact_ = true;
}

void Symbols::Add(const Memory& memory, std::size_t index) {
  Check(memory, index);
  const Elf64_Sym symbol = At(index);
  if (IsUnique(symbol)) unique_.push_back(index);
  if (IsImport(symbol) && index != STN_UNDEF) imports_.push_back(index);
}

void Symbols::Check(const Memory& memory, std::size_t index) const {
  const Elf64_Sym symbol = At(index);
  if (!strings_.Has(symbol.st_name)) {
    Malformed("symbol " + std::to_string(index) + " has its name outside DT_STRTAB");
  }
  versions_.Check(index, !IsImport(symbol));
  if (index == STN_UNDEF) {
    if (symbol.st_name == 0 && symbol.st_info == 0 && symbol.st_shndx == SHN_UNDEF) return;
    Malformed("the first symbol is not the undefined one");
  }
  if (symbol.st_shndx == SHN_UNDEF) return CheckImport(symbol);
  const unsigned type = ELF64_ST_TYPE(symbol.st_info);
  if (type == STT_GNU_IFUNC && !memory.Holds(symbol.st_value, 1, PF_X)) {
    Malformed("indirect function '" + std::string(NameOf(symbol)) + "' has no code");
  }
  if (type == STT_TLS) {
    if (symbol.st_value > tls_size_) {
      Malformed("thread-local '" + std::string(NameOf(symbol)) + "' lies outside PT_TLS");
    }
  } else if (symbol.st_shndx != SHN_ABS && !memory.Spans(symbol.st_value)) {
    Malformed("symbol '" + std::string(NameOf(symbol)) + "' lies outside the segments");
  }
}

// The loader would bind an import that no other object can define to the address of the ELF header.
void Symbols::CheckImport(const Elf64_Sym& symbol) const {
  const unsigned visibility = ELF64_ST_VISIBILITY(symbol.st_other);
  if (ELF64_ST_BIND(symbol.st_info) == STB_LOCAL || visibility == STV_HIDDEN ||
      visibility == STV_INTERNAL || strings_.IsEmptyAt(symbol.st_name)) {
    Malformed("undefined symbol '" + std::string(NameOf(symbol)) +
              "' cannot be found in other objects");
  }
}

void Symbols::AdmitBeyond(const Memory& memory, std::size_t index) {
  if (count_is_exact_ || index >= table_.Count<Elf64_Sym>()) {
    Malformed("a relocation refers to symbol " + std::to_string(index) + " of " +
              std::to_string(count_));
  }
  for (; count_ <= index; ++count_) Add(memory, count_);
}

std::uint64_t Symbols::gnu_chain_size() const noexcept {
  const std::uint64_t first = gnu_hash_->first_symbol;
  return count_ > first ? (count_ - first) * sizeof(std::uint32_t) : 0;
}

std::uint64_t Symbols::gnu_hash_size() const noexcept {
  if (!gnu_hash_) return 0;
  return 4 * sizeof(std::uint32_t) + gnu_hash_->bloom.size() + gnu_hash_->buckets.size() +
         gnu_chain_size();
}

std::uint64_t Symbols::sysv_hash_size() const noexcept {
  if (!sysv_hash_) return 0;
  return 2 * sizeof(Elf64_Word) + sysv_hash_->buckets.size() + sysv_hash_->chain.size();
}

Symbols Symbols::CopyTo(std::vector<std::vector<std::byte>>& tables) const {
  Symbols copy = *this;
  copy.table_ = table_.CopyTo(tables, count_ * sizeof(Elf64_Sym));
  copy.strings_ = strings_.CopyTo(tables);
  copy.versions_ = versions_.CopyTo(tables, count_, strings_, copy.strings_);
  const auto copy_of = [&](const View& view) { return view.CopyTo(tables, view.size()); };
  if (gnu_hash_) {
    copy.gnu_hash_->bloom = copy_of(gnu_hash_->bloom);
    copy.gnu_hash_->buckets = copy_of(gnu_hash_->buckets);
    copy.gnu_hash_->chain = gnu_hash_->chain.CopyTo(tables, gnu_chain_size());
  }
  if (sysv_hash_) {
    copy.sysv_hash_->buckets = copy_of(sysv_hash_->buckets);
    copy.sysv_hash_->chain = copy_of(sysv_hash_->chain);
  }
  return copy;
}

bool Symbols::Matches(std::size_t index, std::string_view name, std::string_view version) const {
  const Elf64_Sym symbol = At(index);
  if (!IsExported(symbol) || NameOf(symbol) != name) return false;
  if (version.empty()) return versions_.FoundByDlsym(index);
  const std::string_view own = versions_.NameOf(index);
  return own.empty() || own == version;
}

std::optional<std::size_t> Symbols::Find(std::string_view name, std::string_view version) const {
  if (gnu_hash_) return FindByGnuHash(name, version);
  if (sysv_hash_) return FindBySysvHash(name, version);
  return std::nullopt;
}

std::optional<std::size_t> Symbols::FindByGnuHash(std::string_view name,
                                                  std::string_view version) const {
  const std::uint32_t hash = GnuHashOf(name);
  const std::size_t word_bits = 64;
  const auto word = gnu_hash_->bloom.At<Elf64_Xword>((hash / word_bits) &
                                                     (gnu_hash_->bloom.Count<Elf64_Xword>() - 1));
  const std::uint32_t second = hash >> gnu_hash_->shift;
  if (((word >> (hash % word_bits)) & (word >> (second % word_bits)) & 1) == 0) return std::nullopt;

  const std::size_t bucket_count = gnu_hash_->buckets.Count<std::uint32_t>();
  std::size_t index = gnu_hash_->buckets.At<std::uint32_t>(hash % bucket_count);
  if (index == 0) return std::nullopt;
  for (; index < count_; ++index) {
    const auto entry = gnu_hash_->chain.At<std::uint32_t>(index - gnu_hash_->first_symbol);
    if ((entry | 1) == (hash | 1) && Matches(index, name, version)) return index;
    if ((entry & 1) != 0) break;
  }
  return std::nullopt;
}

std::optional<std::size_t> Symbols::FindBySysvHash(std::string_view name,
                                                   std::string_view version) const {
  const std::size_t bucket_count = sysv_hash_->buckets.Count<Elf64_Word>();
  if (bucket_count == 0) return std::nullopt;
  std::size_t index = sysv_hash_->buckets.At<Elf64_Word>(SysvHashOf(name) % bucket_count);
  for (std::size_t steps = 0; index != STN_UNDEF && steps < count_; ++steps) {
    if (Matches(index, name, version)) return index;
    index = sysv_hash_->chain.At<Elf64_Word>(index);
  }
  return std::nullopt;
}

bool IsBound(const Elf64_Sym& symbol) {
  return symbol.st_shndx == SHN_ABS && symbol.st_info == ELF64_ST_INFO(STB_LOCAL, STT_FUNC) &&
         ELF64_ST_VISIBILITY(symbol.st_other) == STV_HIDDEN;
}

bool IsImport(const Elf64_Sym& symbol) { return symbol.st_shndx == SHN_UNDEF || IsBound(symbol); }

bool IsExported(const Elf64_Sym& symbol) {
  const unsigned binding = ELF64_ST_BIND(symbol.st_info);
  const unsigned type = ELF64_ST_TYPE(symbol.st_info);
  const unsigned visibility = ELF64_ST_VISIBILITY(symbol.st_other);
  if (symbol.st_shndx == SHN_UNDEF) return false;
  if (binding != STB_GLOBAL && binding != STB_WEAK && binding != STB_GNU_UNIQUE) return false;
  if (visibility == STV_HIDDEN || visibility == STV_INTERNAL) return false;
  if (symbol.st_value == 0 && symbol.st_shndx != SHN_ABS && type != STT_TLS) return false;
  return type == STT_NOTYPE || type == STT_OBJECT || type == STT_FUNC || type == STT_COMMON ||
         type == STT_TLS || type == STT_GNU_IFUNC;
}

bool IsUnique(const Elf64_Sym& symbol) {
  return symbol.st_shndx != SHN_UNDEF && ELF64_ST_BIND(symbol.st_info) == STB_GNU_UNIQUE;
}

}  // namespace soswap::elf
