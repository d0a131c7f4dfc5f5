#pragma once

#include <unistd.h>

#include <climits>
#include <string>
#include <string_view>

namespace soswap {

// The name in its directory: all of a path without one.
inline std::string_view LastPart(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// Empty if there is none, getcwd(3).
inline std::string CurrentDirectory() {
  char directory[PATH_MAX];
  return getcwd(directory, sizeof directory) != nullptr ? directory : "";
}

}  // namespace soswap
