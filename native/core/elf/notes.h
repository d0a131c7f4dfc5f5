#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/elf/view.h"

namespace soswap::elf {

struct Notes {
  std::optional<std::string> build_id;  // NT_GNU_BUILD_ID in hexadecimal
  bool is_go = false;                   // has the build id of the Go toolchain
};

// Reads up to the first malformed note.
Notes ReadNotes(const View& segment, std::uint64_t alignment);

// Checks the length of NT_GNU_PROPERTY_TYPE_0, which the loader trusts.
void CheckProperties(const View& segment, std::uint64_t alignment);

}  // namespace soswap::elf
