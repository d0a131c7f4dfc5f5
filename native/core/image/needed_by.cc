#include "core/image/needed_by.h"

#include <set>
#include <utility>

#include "core/image/known_image.h"
#include "core/loader/loaded_objects.h"
#include "core/loader/provided_name.h"

namespace soswap {
namespace {

bool IsStub(const LoadedObject& object) { return IsProvidedName(object.soname); }

// What an object needs through this entry of DT_NEEDED.
const LoadedObject* FindNeeded(const LoadedObjects& objects, const std::string& needed) {
  const LoadedObject* found = objects.Find(needed);
  const bool passed_over = found != nullptr && IsStub(*found) && !found->needed.empty();
  return passed_over ? objects.Find(found->needed.front()) : found;
}

}  // namespace

std::map<std::string, std::vector<std::string>> ObjectsByNeed() {
  const LoadedObjects objects = LoadedObjects::List();
  std::map<std::string, std::vector<std::string>> needing;
  for (const auto& object : objects.all()) {
    if (IsStub(*object)) continue;
    std::set<std::string> counted;  // two names may mean one object
    for (const std::string& needed : object->needed) {
      const LoadedObject* found = FindNeeded(objects, needed);
      if (found == nullptr || !counted.insert(found->name).second) continue;
      needing[found->name].push_back(object->name.empty() ? "the program"
                                                          : PathOfObject(object->name));
    }
  }
  return needing;
}

std::vector<std::string> ObjectsThatNeed(const std::string& loader_name) {
  auto needing = ObjectsByNeed();
  return std::move(needing[loader_name]);
}

}  // namespace soswap
