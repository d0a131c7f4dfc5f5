#include "core/elf/edit.h"

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace soswap {
namespace {

template <typename T>
void Write(std::span<std::byte> copy, std::uint64_t offset, const T& value) {
  if (offset > copy.size() || copy.size() - offset < sizeof(T)) {
    throw std::out_of_range("the copy is shorter than the file it is of");
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

}  // namespace

std::size_t DemoteUniqueSymbols(const ElfFile& file, std::span<std::byte> copy) {
  std::size_t demoted = 0;
  for (std::size_t i = 1; i < file.symbols().count(); ++i) {
    Elf64_Sym symbol = file.symbols().At(i);
    if (!elf::IsUnique(symbol)) continue;
    symbol.st_info =
        static_cast<unsigned char>(ELF64_ST_INFO(STB_GLOBAL, ELF64_ST_TYPE(symbol.st_info)));
    Write(copy, file.symbols_offset() + i * sizeof(symbol), symbol);
    ++demoted;
  }
  return demoted;
}

bool ClearNoDelete(const ElfFile& file, std::span<std::byte> copy) {
  bool cleared = false;
  for (std::size_t i = 0; i < file.dynamic().count(); ++i) {
    const Elf64_Dyn entry = file.dynamic().At(i);
    if (entry.d_tag != DT_FLAGS_1 || (entry.d_un.d_val & DF_1_NODELETE) == 0) continue;
    WriteDynamic(file, copy, i, DT_FLAGS_1, entry.d_un.d_val & ~std::uint64_t{DF_1_NODELETE});
    cleared = true;
  }
  return cleared;
}

bool BindSymbolically(const ElfFile& file, std::span<std::byte> copy) {
  const elf::Dynamic& dynamic = file.dynamic();
  if (dynamic.Has(DT_SYMBOLIC)) return true;
  if (const auto flags = dynamic.IndexOf(DT_FLAGS)) {
    WriteDynamic(file, copy, *flags, DT_FLAGS, dynamic.At(*flags).d_un.d_val | DF_SYMBOLIC);
    return true;
  }
  // The first terminator can be given up when another follows.
  const std::size_t end = dynamic.count();
  if (end + 1 >= dynamic.capacity() || dynamic.At(end + 1).d_tag != DT_NULL) return false;
  WriteDynamic(file, copy, end, DT_SYMBOLIC, 0);
  return true;
}

void DropSectionHeaders(std::span<std::byte> copy) {
  Write(copy, offsetof(Elf64_Ehdr, e_shoff), Elf64_Off{0});
  Write(copy, offsetof(Elf64_Ehdr, e_shnum), Elf64_Half{0});
  Write(copy, offsetof(Elf64_Ehdr, e_shstrndx), Elf64_Half{SHN_UNDEF});
}

}  // namespace soswap
