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

// Reads as far as the notes make sense.
Notes ReadNotes(const View& segment, std::uint64_t alignment);

// The loader walks the notes of a segment to find NT_GNU_PROPERTY_TYPE_0 and trusts its length.
void CheckProperties(const View& segment, std::uint64_t alignment);

}  // namespace soswap::elf
