#pragma once

#include <cstdint>
#include <vector>

#include "core/elf/dynamic.h"
#include "core/elf/memory.h"
#include "core/elf/symbols.h"

namespace soswap::elf {

// The input of the loader's work on an image before the first call: it applies the relocations,
// protects PT_GNU_RELRO and calls the initializers.
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

// Throws Defect if the loader would crash. Returns which symbols a relocation refers to.
std::vector<bool> CheckStartup(const Startup& startup);

}  // namespace soswap::elf
