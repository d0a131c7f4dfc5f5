#include "core/image/dependency_states.h"

#include <sys/stat.h>

#include <algorithm>

#include "core/base/loader_name.h"

namespace soswap {

DependencyStates::DependencyStates(const LoadedObjects::Objects& dependencies) {
  for (const auto& object : dependencies) {
    if (IsLoaderNameOfDescriptor(object->name)) {
      images_.push_back(object->name);
    } else if (object->name.find('/') != std::string::npos) {
      files_.push_back(Look(object->name));
    }
  }
}

DependencyStates::File DependencyStates::Look(const std::string& path) {
  constexpr int64_t kNanoseconds = 1'000'000'000;
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return {.path = path};
  return {path, status.st_dev, status.st_ino, status.st_size,
          status.st_mtim.tv_sec * kNanoseconds + status.st_mtim.tv_nsec};
}

std::vector<std::string> DependencyStates::paths() const {
  std::vector<std::string> paths;
  for (const File& file : files_) paths.push_back(file.path);
  return paths;
}

std::vector<std::string> DependencyStates::Changed() {
  if (is_first_look_) {
    // The constructors of the image may have run for long before anybody looked.
    for (const std::string& path : ReplacedFiles(paths())) {
      const auto file = std::find_if(files_.begin(), files_.end(),
                                     [&](const File& each) { return each.path == path; });
      *file = {.path = path};
    }
    is_first_look_ = false;
  }
  std::vector<std::string> changed;
  for (const File& file : files_) {
    const File now = Look(file.path);
    if (now.size >= 0 && now != file) changed.push_back(file.path);
  }
  return changed;
}

}  // namespace soswap
