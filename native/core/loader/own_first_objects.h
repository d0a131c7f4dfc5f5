#pragma once

#include <string>
#include <unordered_set>

#include "core/loader/loaded_objects.h"

namespace soswap {

// Which loaded objects bind to their own symbols, and to those of what they need, before those of
// the program. The loader does not show it. Any thread.

// Marks the image of this name and what it needs, which the loader searched before the program, but
// for the objects of these names.
void MarkOwnFirst(const std::string& loader_name, const std::unordered_set<std::string>& except);

// Whether it was marked, or is an image of soswap.
bool IsOwnFirst(const LoadedObject& object);

}  // namespace soswap
