#pragma once

#include <elf.h>

#include <cstdint>
#include <string_view>

#include "core/loader/loaded_objects.h"

namespace soswap {

// The symbols that a loaded object exports, read where the loader reads them: through its
// DT_GNU_HASH, without a copy. An object without that table seems to export nothing. The object
// must stay loaded meanwhile. Any thread.
class ObjectSymbols final {
 public:
  ObjectSymbols() = default;
  explicit ObjectSymbols(const LoadedObject& object) noexcept;

  // The symbol of this name, in whatever version; null if there is none.
  const Elf64_Sym* Find(std::string_view name) const noexcept;

  // Where its value lies in the process.
  const void* AddressOf(const Elf64_Sym& symbol) const noexcept;

 private:
  uintptr_t base_ = 0;
  const Elf64_Sym* table_ = nullptr;
  const char* strings_ = nullptr;
  const uint32_t* hash_ = nullptr;
};

// What the main program exports. Its symbols come first for every object of the process. Any
// thread.
const ObjectSymbols& ProgramSymbols();

}  // namespace soswap
