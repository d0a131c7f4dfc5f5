#include "core/loader/kept_objects.h"

#include <dlfcn.h>

#include <map>
#include <mutex>
#include <utility>

#include "core/loader/dl.h"
#include "core/loader/unload.h"

namespace soswap {
namespace {

// Never destroyed: that would unmap the objects while the process exits.
struct Kept {
  std::mutex mutex;
  std::map<std::string, LoaderHandle> handles;
};

Kept& TheKept() {
  static auto* kept = new Kept;
  return *kept;
}

}  // namespace

bool RunsByItself(const std::shared_ptr<const LoadedObject>& object) {
  return !ThreadFunctionsOf(object).empty();
}

void KeepLoaded(const LoadedObject& object) {
  const std::lock_guard lock(TheKept().mutex);
  LoaderHandle& handle = TheKept().handles[object.name];
  if (handle == nullptr) handle.reset(dlopen(object.name.c_str(), RTLD_LAZY | RTLD_NOLOAD));
}

bool IsKept(const std::string& loader_name) {
  const std::lock_guard lock(TheKept().mutex);
  const auto found = TheKept().handles.find(loader_name);
  return found != TheKept().handles.end() && found->second != nullptr;
}

}  // namespace soswap
