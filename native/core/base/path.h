#pragma once

#include <sys/stat.h>
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

// Whether both lead to one file. False if one of them leads to none.
inline bool IsSameFile(const std::string& one, const std::string& other) {
  struct stat first {};
  struct stat second {};
  return stat(one.c_str(), &first) == 0 && stat(other.c_str(), &second) == 0 &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

}  // namespace soswap
