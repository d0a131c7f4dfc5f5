#include "core/loader/object_references.h"

#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cstddef>

namespace soswap {
namespace {

// The tables of the dynamic section that relocations need.
struct Tables {
  const Elf64_Sym* symbols = nullptr;
  const char* strings = nullptr;
  const Elf64_Rela* relocations = nullptr;
  size_t relocation_count = 0;
  size_t relative_count = 0;  // of those, at the beginning
  const Elf64_Rela* plt = nullptr;
  size_t plt_count = 0;
};

template <typename Item>
const Item* At(const LoadedObject& object, const ElfW(Dyn) & entry) {
  return reinterpret_cast<const Item*>(AddressIn(entry, object.base));
}

Tables TablesOf(const LoadedObject& object) {
  Tables tables;
  if (object.dynamic == nullptr) return tables;
  for (const ElfW(Dyn)* entry = object.dynamic; entry->d_tag != DT_NULL; ++entry) {
    const auto value = static_cast<size_t>(entry->d_un.d_val);
    switch (entry->d_tag) {
      case DT_SYMTAB:
        tables.symbols = At<Elf64_Sym>(object, *entry);
        break;
      case DT_STRTAB:
        tables.strings = At<char>(object, *entry);
        break;
      case DT_RELA:
        tables.relocations = At<Elf64_Rela>(object, *entry);
        break;
      case DT_RELASZ:
        tables.relocation_count = value / sizeof(Elf64_Rela);
        break;
      case DT_RELACOUNT:
        tables.relative_count = value;
        break;
      case DT_JMPREL:
        tables.plt = At<Elf64_Rela>(object, *entry);
        break;
      case DT_PLTRELSZ:
        tables.plt_count = value / sizeof(Elf64_Rela);
        break;
      default:
        break;
    }
  }
  return tables;
}

// Other threads may write there at this moment.
__attribute__((no_sanitize("thread", "address"))) uintptr_t WordAt(const uintptr_t* place) {
  return __atomic_load_n(place, __ATOMIC_RELAXED);
}

}  // namespace

void ForEachReference(const LoadedObject& object,
                      const std::function<void(std::string_view name)>& visit) {
  const Tables tables = TablesOf(object);
  if (tables.symbols == nullptr || tables.strings == nullptr) return;
  const auto visit_all = [&](const Elf64_Rela* first, size_t count) {
    uint64_t last = 0;
    for (size_t index = 0; first != nullptr && index < count; ++index) {
      const uint64_t number = ELF64_R_SYM(first[index].r_info);
      if (number == 0 || number == last) continue;
      last = number;
      const Elf64_Sym& symbol = tables.symbols[number];
      if (symbol.st_shndx == SHN_UNDEF) visit(tables.strings + symbol.st_name);
    }
  };
  const size_t relative = std::min(tables.relative_count, tables.relocation_count);
  visit_all(tables.relocations == nullptr ? nullptr : tables.relocations + relative,
            tables.relocation_count - relative);
  visit_all(tables.plt, tables.plt_count);
}

bool HoldsAddressIn(const LoadedObject& object, uintptr_t start, uintptr_t end) {
  for (const auto& [from, to] : object.writable) {
    constexpr uintptr_t kWord = sizeof(uintptr_t);
    const auto* last = reinterpret_cast<const uintptr_t*>(to / kWord * kWord);
    for (const auto* at = reinterpret_cast<const uintptr_t*>((from + kWord - 1) / kWord * kWord);
         at < last; ++at) {
      const uintptr_t word = WordAt(at);
      if (word >= start && word < end) return true;
    }
  }
  return false;
}

}  // namespace soswap
