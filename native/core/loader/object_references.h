#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "core/loader/loaded_objects.h"

namespace soswap {

// What a loaded object refers to, read in its memory: its file may be another one by now. The
// object must stay loaded meanwhile. Any thread.

// Calls `visit` for each undefined symbol that a relocation of the object is for, some repeatedly.
void ForEachReference(const LoadedObject& object,
                      const std::function<void(std::string_view name)>& visit);

// Whether a word of its writable memory, or of what the loader has made read-only after relocation,
// is an address from `start` to below `end`: a symbol that is bound to another object, or an
// address that code of the object has put there.
bool HoldsAddressIn(const LoadedObject& object, uintptr_t start, uintptr_t end);

}  // namespace soswap
