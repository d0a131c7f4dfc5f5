#include "core/loader/object_symbols.h"

#include "core/elf/symbols.h"

namespace soswap {

ObjectSymbols::ObjectSymbols(const LoadedObject& object) noexcept : base_(object.base) {
  if (object.dynamic == nullptr) return;
  const auto at = [&](const ElfW(Dyn) & entry) {
    return reinterpret_cast<const void*>(AddressIn(entry, base_));
  };
  for (const ElfW(Dyn)* entry = object.dynamic; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_SYMTAB) table_ = static_cast<const Elf64_Sym*>(at(*entry));
    if (entry->d_tag == DT_STRTAB) strings_ = static_cast<const char*>(at(*entry));
    if (entry->d_tag == DT_GNU_HASH) hash_ = static_cast<const uint32_t*>(at(*entry));
  }
  if (table_ == nullptr || strings_ == nullptr) hash_ = nullptr;
}

const Elf64_Sym* ObjectSymbols::Find(std::string_view name) const noexcept {
  if (hash_ == nullptr) return nullptr;
  const uint32_t hash = elf::GnuHashOf(name);
  const uint32_t bucket_count = hash_[0];
  const uint32_t first = hash_[1];
  const uint32_t bloom_count = hash_[2];
  const uint32_t shift = hash_[3];
  constexpr uint32_t kWordBits = 64;
  const auto* bloom = reinterpret_cast<const uint64_t*>(hash_ + 4);
  const uint64_t word = bloom[(hash / kWordBits) & (bloom_count - 1)];
  if (((word >> (hash % kWordBits)) & (word >> ((hash >> shift) % kWordBits)) & 1) == 0) {
    return nullptr;
  }
  const auto* buckets = reinterpret_cast<const uint32_t*>(bloom + bloom_count);
  const uint32_t* chain = buckets + bucket_count;
  uint32_t index = buckets[hash % bucket_count];
  if (index < first) return nullptr;
  for (;; ++index) {
    const uint32_t entry = chain[index - first];
    if ((entry | 1) == (hash | 1) && name == strings_ + table_[index].st_name &&
        elf::IsExported(table_[index])) {
      return &table_[index];
    }
    if ((entry & 1) != 0) return nullptr;
  }
}

const void* ObjectSymbols::AddressOf(const Elf64_Sym& symbol) const noexcept {
  const uintptr_t base = symbol.st_shndx == SHN_ABS ? 0 : base_;
  return reinterpret_cast<const void*>(base + symbol.st_value);
}

const ObjectSymbols& ProgramSymbols() {
  static const auto* symbols = new ObjectSymbols(*LoadedObjects::List().all().front());
  return *symbols;
}

}  // namespace soswap
