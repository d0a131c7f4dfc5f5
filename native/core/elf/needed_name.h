#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "core/elf/file.h"

namespace soswap {

// Makes the copy, from whose bytes `file` was parsed, need `replacement` instead of `name`, in
// DT_NEEDED and in DT_VERNEED. Both have the same length, for the string table has no room to
// spare: linkers let a string that is the end of another one share its bytes. So the replacement
// takes the place of the name, if no other string uses that, or else bytes of the table that no
// string uses. The facts of `file` stay as they are. Throws Error (kSharedName) if there is no
// place, and std::invalid_argument if the lengths differ. Does nothing if the file does not need
// the name.
void RenameNeeded(const ElfFile& file, std::span<std::byte> copy, std::string_view name,
                  std::string_view replacement);

}  // namespace soswap
