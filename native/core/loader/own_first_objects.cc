#include "core/loader/own_first_objects.h"

#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "core/base/loader_name.h"

namespace soswap {
namespace {

// Never destroyed: threads may still run while the process exits.
struct Marks {
  std::mutex mutex;
  std::unordered_map<std::string, uintptr_t> starts;  // by name; where it was mapped then
};

Marks& TheMarks() {
  static auto* marks = new Marks;
  return *marks;
}

}  // namespace

void MarkOwnFirst(const std::string& loader_name, const std::unordered_set<std::string>& except) {
  const LoadedObjects objects = LoadedObjects::List();
  const std::lock_guard lock(TheMarks().mutex);
  for (const LoadedObject* object : objects.ClosureOf(loader_name)) {
    if (IsLoaderNameOfDescriptor(object->name) || except.contains(object->name)) continue;
    TheMarks().starts[object->name] = object->start;
  }
}

bool IsOwnFirst(const LoadedObject& object) {
  if (IsLoaderNameOfDescriptor(object.name)) return true;
  const std::lock_guard lock(TheMarks().mutex);
  const auto found = TheMarks().starts.find(object.name);
  return found != TheMarks().starts.end() && found->second == object.start;
}

}  // namespace soswap
