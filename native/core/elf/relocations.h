#pragma once

#include <cstdint>
#include <vector>

#include "core/elf/dynamic.h"
#include "core/elf/memory.h"
#include "core/elf/symbols.h"

namespace soswap::elf {

// What the loader does to an image before anybody can call it: apply the relocations, protect
// PT_GNU_RELRO, call the initializers. Throws when it would crash on the way.
struct Startup {
  const Memory& memory;
  const Dynamic& dynamic;
  Symbols& symbols;
  Range dynamic_section;
  Range program_headers;  // empty when they are not loaded
  Range relro;
  bool has_tls = false;
  bool changes_text = false;  // relocations may change any segment
  bool binds_now = false;
};

void CheckStartup(const Startup& startup);

}  // namespace soswap::elf
