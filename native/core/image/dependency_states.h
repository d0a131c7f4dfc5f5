#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/loader/loaded_objects.h"

namespace soswap {

// The files that the dependencies of an image are mapped from, as they were when it was loaded. On
// the thread of the handle of the image.
class DependencyStates final {
 public:
  DependencyStates() = default;
  explicit DependencyStates(const LoadedObjects::Objects& dependencies);

  // The loader names of the dependencies that are images of soswap.
  const std::vector<std::string>& images() const noexcept { return images_; }
  // The paths of the other ones.
  std::vector<std::string> paths() const;

  // The paths that lead to another file, or to another state of it, by now. Takes one stat(2) for
  // each; the first call also reads /proc/self/maps. A file that is gone has not changed yet.
  std::vector<std::string> Changed();

 private:
  struct File {
    std::string path;
    uint64_t device = 0;
    uint64_t inode = 0;
    int64_t size = -1;  // -1: there is none
    int64_t mtime_ns = 0;

    bool operator==(const File&) const = default;
  };

  static File Look(const std::string& path);

  std::vector<File> files_;
  std::vector<std::string> images_;
  bool is_first_look_ = true;
};

}  // namespace soswap
