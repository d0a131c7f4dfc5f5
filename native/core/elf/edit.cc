#include "core/elf/edit.h"

#include <elf.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "core/elf/string_tokens.h"

namespace soswap {
namespace {

struct NamedEdit {
  std::string_view name;
  void (*apply)(const ElfFile& file, std::span<std::byte> copy);
};

constexpr std::array kNamedEdits{
    NamedEdit{"demote-unique-symbols", DemoteUniqueSymbols},
    NamedEdit{"clear-nodelete", ClearNoDelete},
    NamedEdit{"bind-symbolically", BindSymbolically},
    NamedEdit{"shorten-needed-from-origin", ShortenNeededFromOrigin},
    NamedEdit{"hide-soname", HideSoname},
};

// malloc(3) and its family, and the operators new and delete in their commonest forms.
constexpr std::array<std::string_view, 17> kAllocators = {
    "malloc", "free",    "calloc",   "realloc", "aligned_alloc", "posix_memalign",
    "valloc", "pvalloc", "memalign", "cfree",   "reallocarray",  "malloc_usable_size",
    "_Znwm",  "_Znam",   "_ZdlPv",   "_ZdaPv",  "_ZdlPvm",
};

template <typename T>
void Write(std::span<std::byte> copy, std::uint64_t offset, const T& value) {
  if (offset > copy.size() || copy.size() - offset < sizeof(T)) {
    throw std::out_of_range("the copy is shorter than the file");
  }
  std::memcpy(copy.data() + offset, &value, sizeof(T));
}

void WriteDynamic(const ElfFile& file, std::span<std::byte> copy, std::size_t index,
                  std::int64_t tag, std::uint64_t value) {
  Elf64_Dyn entry{};
  entry.d_tag = tag;
  entry.d_un.d_val = value;
  Write(copy, file.dynamic_offset() + index * sizeof(entry), entry);
}

void WriteSymbol(const ElfFile& file, std::span<std::byte> copy, std::size_t index,
                 const Elf64_Sym& symbol) {
  Write(copy, file.symbols_offset() + index * sizeof(symbol), symbol);
}

// An allocator is one for the whole process: memory from the C library's strdup() gets into a
// library's free().
bool HasAllocator(const ElfFile& file) {
  return std::any_of(kAllocators.begin(), kAllocators.end(),
                     [&](std::string_view name) { return file.Defines(name); });
}

// The loader binds an object's own references to its protected symbols as if it were symbolic.
void ProtectExports(const ElfFile& file, std::span<std::byte> copy) {
  for (std::size_t i = 1; i < file.symbols().count(); ++i) {
    Elf64_Sym symbol = file.symbols().At(i);
    if (!elf::IsExported(symbol) || elf::IsUnique(symbol)) continue;
    if (IsAllocator(file.symbols().NameOf(symbol))) continue;
    symbol.st_other = static_cast<unsigned char>((symbol.st_other & ~0x3U) | STV_PROTECTED);
    WriteSymbol(file, copy, i, symbol);
  }
}

}  // namespace

bool IsAllocator(std::string_view name) noexcept {
  for (const std::string_view prefix : {"_Znw", "_Zna", "_Zdl", "_Zda"}) {
    if (name.starts_with(prefix)) return true;
  }
  return std::find(kAllocators.begin(), kAllocators.end(), name) != kAllocators.end();
}

Edit EditNamed(std::string_view name) {
  const auto* const found = std::find_if(kNamedEdits.begin(), kNamedEdits.end(),
                                         [&](const NamedEdit& edit) { return edit.name == name; });
  if (found == kNamedEdits.end())
    throw std::invalid_argument("no edit is called " + std::string(name));
  return found->apply;
}

void DemoteUniqueSymbols(const ElfFile& file, std::span<std::byte> copy) {
  for (const std::size_t i : file.symbols().unique()) {
    Elf64_Sym symbol = file.symbols().At(i);
    symbol.st_info =
        static_cast<unsigned char>(ELF64_ST_INFO(STB_GLOBAL, ELF64_ST_TYPE(symbol.st_info)));
    WriteSymbol(file, copy, i, symbol);
  }
}

void BindImport(const ElfFile& file, std::span<std::byte> copy, std::size_t index,
                std::uintptr_t address) {
  Elf64_Sym symbol = file.symbols().At(index);
  symbol.st_info = ELF64_ST_INFO(STB_LOCAL, STT_FUNC);
  symbol.st_other = static_cast<unsigned char>((symbol.st_other & ~0x3U) | STV_HIDDEN);
  symbol.st_shndx = SHN_ABS;
  symbol.st_value = address;
  WriteSymbol(file, copy, index, symbol);
}

void ClearNoDelete(const ElfFile& file, std::span<std::byte> copy) {
  if (file.facts().is_go) return;
  for (std::size_t i = 0; i < file.dynamic().count(); ++i) {
    const Elf64_Dyn entry = file.dynamic().At(i);
    if (entry.d_tag != DT_FLAGS_1 || (entry.d_un.d_val & DF_1_NODELETE) == 0) continue;
    WriteDynamic(file, copy, i, DT_FLAGS_1, entry.d_un.d_val & ~std::uint64_t{DF_1_NODELETE});
  }
}

void BindSymbolically(const ElfFile& file, std::span<std::byte> copy) {
  if (file.facts().flags.symbolic) return;
  if (HasAllocator(file)) return ProtectExports(file, copy);
  const elf::Dynamic& dynamic = file.dynamic();
  if (const auto flags = dynamic.IndexOf(DT_FLAGS)) {
    WriteDynamic(file, copy, *flags, DT_FLAGS, dynamic.At(*flags).d_un.d_val | DF_SYMBOLIC);
    return;
  }
  // The first terminator is spare when another follows.
  const std::size_t end = dynamic.count();
  if (end + 1 >= dynamic.capacity() || dynamic.At(end + 1).d_tag != DT_NULL) {
    return ProtectExports(file, copy);
  }
  WriteDynamic(file, copy, end, DT_SYMBOLIC, 0);
}

void ShortenNeededFromOrigin(const ElfFile& file, std::span<std::byte> copy) {
  for (std::size_t i = 0; i < file.dynamic().count(); ++i) {
    const Elf64_Dyn entry = file.dynamic().At(i);
    if (entry.d_tag != DT_NEEDED) continue;
    const std::string_view name = file.symbols().strings().At(entry.d_un.d_val);
    const std::size_t slash = name.rfind('/');
    if (slash == std::string_view::npos || !UsesOrigin(name)) continue;
    // The end of a string in the table is a string too.
    WriteDynamic(file, copy, i, DT_NEEDED, entry.d_un.d_val + slash + 1);
  }
}

void HideSoname(const ElfFile& file, std::span<std::byte> copy) {
  constexpr std::int64_t kUnknown = DT_LOOS;  // no loader gives it a meaning
  if (const auto soname = file.dynamic().IndexOf(DT_SONAME)) {
    WriteDynamic(file, copy, *soname, kUnknown, 0);
  }
}

void DropSectionHeaders(std::span<std::byte> copy) {
  Write(copy, offsetof(Elf64_Ehdr, e_shoff), Elf64_Off{0});
  Write(copy, offsetof(Elf64_Ehdr, e_shnum), Elf64_Half{0});
  Write(copy, offsetof(Elf64_Ehdr, e_shstrndx), Elf64_Half{SHN_UNDEF});
}

}  // namespace soswap
