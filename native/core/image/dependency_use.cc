#include "core/image/dependency_use.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <set>
#include <string_view>
#include <utility>

#include "core/image/known_image.h"
#include "core/loader/kept_objects.h"
#include "core/loader/object_references.h"
#include "core/tracking/thread_starts.h"

namespace soswap {
namespace {

bool Contains(const LoadedObject& object, uintptr_t address) {
  return address >= object.start && address < object.end;
}

// The names by which libraries need what the program needs too. Most need nothing else.
bool IsNameOfProgram(const std::string& needed) {
  static const auto* names = [] {
    auto* all = new std::set<std::string>;
    const LoadedObjects objects = LoadedObjects::List();
    for (const auto& object : objects.all()) {
      if (objects.IsOfProgram(*object) && !object->soname.empty()) all->insert(object->soname);
    }
    return all;
  }();
  return names->contains(needed);
}

bool IsCLibrary(const LoadedObject& object) {
  constexpr std::array<std::string_view, 2> kNames = {"libc.so.6", "libpthread.so.0"};
  return std::find(kNames.begin(), kNames.end(), object.soname) != kNames.end();
}

// It starts each std::thread in a function of its own, whose argument is an object that has, or
// begins with, an address of what the thread runs.
bool IsStdLibrary(const LoadedObject& object) { return object.soname == "libstdc++.so.6"; }

}  // namespace

LoadedObjects::Objects DependenciesOf(const std::string& loader_name,
                                      const std::vector<std::string>& needed) {
  if (std::all_of(needed.begin(), needed.end(), IsNameOfProgram)) return {};
  const LoadedObjects objects = LoadedObjects::List();
  std::set<const LoadedObject*> closure;
  for (const LoadedObject* object : objects.ClosureOf(loader_name)) closure.insert(object);
  LoadedObjects::Objects dependencies;
  for (const auto& object : objects.all()) {
    if (!closure.contains(object.get()) || object->name == loader_name) continue;
    if (!objects.IsOfProgram(*object)) dependencies.push_back(object);
  }
  return dependencies;
}

DependencyUse::DependencyUse(LoadedObjects::Objects all) : objects_(std::move(all)) {
  std::copy_if(objects_.begin(), objects_.end(), std::back_inserter(running_),
               [](const auto& each) {
                 // An image of soswap is tracked itself, and goes when nobody needs it.
                 return FindKnownImage(each->name.c_str()) == nullptr && RunsByItself(each);
               });
  if (running_.empty()) objects_.clear();
}

std::vector<RetainReason> DependencyUse::Reasons(uintptr_t start, uintptr_t end) const {
  if (running_.empty()) return {};
  for (const Object& object : running_) {
    for (const std::string& function : ThreadFunctionsOf(object)) {
      if (IsSeenFromOutside(function)) continue;
      return {{"may-run-threads",
               "its dependency '" + PathOfObject(object->name) + "' uses " + function +
                   ", by which it may run code of the library later: soswap cannot see when"}};
    }
  }
  const Threads threads;
  const FoundThread found = FindThread(threads, start, end);
  if (found.thread != 0) {
    const std::string name = DescribeThread(found.thread);
    if (!found.is_clear) {
      return {{"may-run-threads",
               "a dependency can start threads, and soswap cannot see who started the " + name}};
    }
    return {
        {"may-run-threads",
         "the " + name + " of " +
             (found.owner == nullptr ? "the library"
                                     : "its dependency '" + PathOfObject(found.owner->name) + "'") +
             " may run its code"}};
  }
  for (const Object& object : objects_) {
    if (!HoldsAddressIn(*object, start, end)) continue;
    return {
        {"bound-by", "its dependency '" + PathOfObject(object->name) + "' holds an address of it"}};
  }
  for (const Object& object : threads.objects_.all()) {
    if (!IsCLibrary(*object) || !HoldsAddressIn(*object, start, end)) continue;
    return {{"bound-by",
             "the C library holds an address of it, of a destructor for the end of "
             "threads, say"}};
  }
  return {};
}

DependencyUse::Threads::Threads() {
  const auto at_start = objects_.AtStart();
  const auto& all = objects_.all();
  for (const ThreadStart& start : LookAtThreads()) {
    if (start.known && start.function == 0) continue;  // the main thread
    const auto found = std::find_if(all.begin(), all.end(), [&](const Object& object) {
      return Contains(*object, start.function);
    });
    Thread thread{start, start.known && found != all.end() ? found->get() : nullptr};
    if (thread.begins_in != nullptr) {
      const LoadedObject& object = *thread.begins_in;
      // An image of soswap started it, which counts its threads, or soswap did for itself.
      if (Contains(object, reinterpret_cast<uintptr_t>(&LookAtThreads))) continue;
      // Others that the process began with may wrap what starts threads (LD_PRELOAD, sanitizers).
      const bool is_first = std::find(at_start.begin(), at_start.end(), &object) != at_start.end();
      thread.shows_whose =
          !is_first || object.name.empty() || IsCLibrary(object) || IsStdLibrary(object);
    }
    threads_.push_back(thread);
  }
}

DependencyUse::FoundThread DependencyUse::FindThread(const Threads& threads, uintptr_t start,
                                                     uintptr_t end) const {
  for (const Threads::Thread& thread : threads.threads_) {
    const ThreadStart& begin = thread.start;
    std::vector<uintptr_t> words{begin.function};
    if (thread.begins_in != nullptr && IsStdLibrary(*thread.begins_in)) {
      words.push_back(begin.argument);
      words.insert(words.end(), begin.at_argument.begin(), begin.at_argument.end());
    }
    for (const uintptr_t word : words) {
      if (word >= start && word < end) return {begin.thread, true, nullptr};
      if (const auto* owner = OwnerOf(word)) return {begin.thread, true, owner};
    }
    if (!thread.shows_whose) return {begin.thread};
  }
  return {};
}

const LoadedObject* DependencyUse::OwnerOf(uintptr_t address) const {
  const auto found = std::find_if(objects_.begin(), objects_.end(),
                                  [&](const Object& object) { return Contains(*object, address); });
  return found == objects_.end() ? nullptr : found->get();
}

void DependencyUse::KeepLoaded() const {
  for (const Object& object : running_) soswap::KeepLoaded(*object);
}

}  // namespace soswap
