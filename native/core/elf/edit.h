#pragma once

#include <cstddef>
#include <span>

#include "core/elf/file.h"

namespace soswap {

// Edits of a private copy of the bytes that `file` was parsed from, before it is loaded. `copy` may
// be the very bytes that were parsed; the facts of `file` stay as they were.

// Makes every defined STB_GNU_UNIQUE symbol STB_GLOBAL, so that the loader neither binds it to an
// older image's data nor keeps the image for ever. Returns how many there were.
std::size_t DemoteUniqueSymbols(const ElfFile& file, std::span<std::byte> copy);

// Clears DF_1_NODELETE. Returns whether it was set.
bool ClearNoDelete(const ElfFile& file, std::span<std::byte> copy);

// Sets DF_SYMBOLIC: the object looks for its own symbols in itself first. Returns false when
// the dynamic section has no room for it.
bool BindSymbolically(const ElfFile& file, std::span<std::byte> copy);

// For a copy without what the section headers describe: makes it a file without sections.
void DropSectionHeaders(std::span<std::byte> copy);

}  // namespace soswap
