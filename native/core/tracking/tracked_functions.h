#pragma once

#include <optional>
#include <string_view>

#include "core/tracking/tracking.h"

namespace soswap {

std::optional<Tracked> TrackedNamed(std::string_view name);
// As messages have it.
std::string_view NameOf(Tracked what);
// Whether this process has the function that is tracked.
bool IsThere(Tracked what);
// For each function, in the order of Tracked.
Thunks& ImageThunks();

}  // namespace soswap
