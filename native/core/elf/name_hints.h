#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/elf/file.h"

namespace soswap {

// The mangled names of the C++ functions of this name that the object exports, in whatever
// namespace or class. Follows the Itanium C++ ABI, 5.1.2, as far as names without templates and
// operators go.
std::vector<std::string> MangledNames(const ElfFile& elf, std::string_view name);

// The symbol that makes the object an addon of Node.js: it exports its initialisation, or imports
// the function that registers it.
std::optional<std::string> AddonSymbol(const ElfFile& elf);

}  // namespace soswap
