#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/loader/loaded_objects.h"
#include "core/loader/unload.h"

namespace soswap {

// The dependencies of an image, direct or not, whose code may run by itself: they import functions
// that start threads, or that register destructors for the end of threads. They are no private
// copies, so what they do with these is not tracked. But it can be seen whether a thread of theirs
// is alive, and whether they, or the C library on their behalf, hold an address of the image. While
// neither is so, they cannot call the image, provided that they themselves stay loaded.
class DependencyUse final {
 public:
  // Of an image that is loaded. `needed` are its DT_NEEDED entries. Any thread.
  DependencyUse(const std::string& loader_name, const std::vector<std::string>& needed);
  DependencyUse() = default;

  // Why a dependency may still run code of the image, which lies from `start` to below `end`; empty
  // if none can. Code that is only handed out meanwhile is not seen: nobody must be in the image.
  std::vector<RetainReason> Reasons(uintptr_t start, uintptr_t end) const;

  // Before the image is unmapped: keeps those loaded for as long as the process lives.
  void KeepLoaded() const;

 private:
  using Object = std::shared_ptr<const LoadedObject>;

  std::vector<RetainReason> ThreadReasons(uintptr_t start, uintptr_t end) const;
  const LoadedObject* OwnerOf(uintptr_t address) const;

  std::vector<Object> objects_;  // all of them, if there is one of `running_`
  std::vector<Object> running_;
};

}  // namespace soswap
