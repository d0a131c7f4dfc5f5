#pragma once

#include <string_view>

namespace soswap {

// The name in its directory: all of a path without one.
inline std::string_view LastPart(std::string_view path) { return path.substr(path.rfind('/') + 1); }

}  // namespace soswap
