#include "core/elf/file.h"

#include <elf.h>

namespace soswap {
namespace {

ElfType TypeOf(const Elf64_Sym& symbol) {
  switch (ELF64_ST_TYPE(symbol.st_info)) {
    case STT_OBJECT:
    case STT_COMMON:
      return ElfType::kObject;
    case STT_FUNC:
      return ElfType::kFunction;
    case STT_TLS:
      return ElfType::kThreadLocal;
    case STT_GNU_IFUNC:
      return ElfType::kIndirectFunction;
    default:
      return ElfType::kNone;
  }
}

ElfBinding BindingOf(const Elf64_Sym& symbol) {
  switch (ELF64_ST_BIND(symbol.st_info)) {
    case STB_WEAK:
      return ElfBinding::kWeak;
    case STB_GNU_UNIQUE:
      return ElfBinding::kUnique;
    default:
      return ElfBinding::kGlobal;
  }
}

}  // namespace

bool ElfFile::Defines(std::string_view name) const { return symbols_.Find(name).has_value(); }

std::vector<ElfExport> ElfFile::Exports() const {
  std::vector<ElfExport> exports;
  for (std::size_t i = 1; i < symbols_.count(); ++i) {
    const Elf64_Sym symbol = symbols_.At(i);
    if (!elf::IsExported(symbol)) continue;
    const std::string_view name = symbols_.NameOf(symbol);
    const std::string_view version = symbols_.versions().NameOf(i);
    // Linkers define each version itself as a symbol of that name.
    if (symbol.st_shndx == SHN_ABS && name == version) continue;
    exports.push_back({std::string(name), symbol.st_size, TypeOf(symbol), BindingOf(symbol),
                       std::string(version)});
  }
  return exports;
}

std::vector<ElfImport> ElfFile::Imports() const {
  std::vector<ElfImport> imports;
  symbols_.ForEachImport([&](const elf::Import& import) {
    imports.push_back({std::string(import.name), import.weak, std::string(import.version)});
  });
  return imports;
}

std::vector<std::string> ElfFile::UniqueSymbols() const {
  std::vector<std::string> names;
  for (const std::size_t i : symbols_.unique()) {
    const Elf64_Sym symbol = symbols_.At(i);
    if (elf::IsUnique(symbol)) names.emplace_back(symbols_.NameOf(symbol));
  }
  return names;
}

}  // namespace soswap
