#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "core/elf/file.h"

namespace soswap {

// A change of a private copy before it is loaded. `file` was parsed from the bytes of `copy`. If
// `copy` is the memory that was parsed, the tables of `file` show the change, but its facts do not.
// An edit that needs more than the file, such as an address, is a lambda that captures it.
// Throws Error if the file has no room for the change, std::out_of_range if `copy` is too short.
using Edit = std::function<void(const ElfFile& file, std::span<std::byte> copy)>;

// The edit that lib/native/types.ts: CopyEdit calls by this name. Throws std::invalid_argument if
// there is none.
Edit EditNamed(std::string_view name);

// Whether it is the name of malloc(3) and its family, or of an operator new or delete: functions
// that a program replaces for all of its objects.
bool IsAllocator(std::string_view name) noexcept;

// Gives the import an address of this process; see core/bind/bound_imports.h.
void BindImport(const ElfFile& file, std::span<std::byte> copy, std::size_t index,
                std::uintptr_t address);

// Makes every defined STB_GNU_UNIQUE symbol STB_GLOBAL, so that the loader neither binds it to an
// older image's data nor keeps the image for ever.
void DemoteUniqueSymbols(const ElfFile& file, std::span<std::byte> copy);

// Clears DF_1_NODELETE, but not of a Go library, whose threads never end.
void ClearNoDelete(const ElfFile& file, std::span<std::byte> copy);

// Makes the object bind to its own symbols first, by DF_SYMBOLIC. If the dynamic section has no
// room for that, or the object exports an allocator (see IsAllocator), makes its exports
// STV_PROTECTED instead, but for the allocator and for STB_GNU_UNIQUE symbols.
void BindSymbolically(const ElfFile& file, std::span<std::byte> copy);

// Shortens DT_NEEDED entries that begin at $ORIGIN ("$ORIGIN/libx.so") to the bare name, by which
// LoadSnapshot() provides the file.
void ShortenNeededFromOrigin(const ElfFile& file, std::span<std::byte> copy);

// Removes DT_SONAME, so that the loader does not take the object for what another one needs by that
// name.
void HideSoname(const ElfFile& file, std::span<std::byte> copy);

// Makes the copy a file without sections. Needed where the copy lacks bytes that the section
// headers describe.
void DropSectionHeaders(std::span<std::byte> copy);

}  // namespace soswap
