#pragma once

#include <unistd.h>

#include <climits>
#include <string>
#include <string_view>

namespace soswap {

// The file name without its directory.
inline std::string_view LastPart(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// Empty if getcwd(3) fails.
inline std::string CurrentDirectory() {
  char directory[PATH_MAX];
  return getcwd(directory, sizeof directory) != nullptr ? directory : "";
}

}  // namespace soswap
