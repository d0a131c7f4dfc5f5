#include "core/loader/unload.h"

#include <elf.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string_view>
#include <utility>

#include "core/loader/object_references.h"

namespace soswap {
namespace {

// A thread, or a destructor at the end of a thread, still runs code of the object that called one
// of these. The loader does not know and unmaps the code.
constexpr std::array<std::string_view, 18> kThreadFunctions = {
    "pthread_create",      // pthread_create(3)
    "thrd_create",         // the same in C11
    "clone",               // clone(2)
    "timer_create",        // timer_create(2) with SIGEV_THREAD
    "pthread_key_create",  // a destructor for each thread that set the key
    "tss_create",          // the same in C11
    "uv_thread_create",
    "uv_thread_create_ex",
    "uv_queue_work",
    "mq_notify",  // with SIGEV_THREAD, as these
    "getaddrinfo_a",
    "aio_read",
    "aio_write",
    "aio_fsync",
    "lio_listio",
    "aio_read64",
    "aio_write64",
    "on_exit",  // runs at exit
};
// std::thread, whose constructor calls into libstdc++.
constexpr std::string_view kStdThread = "_ZNSt6thread15_M_start_thread";
// The loader knows these destructors: while one is pending, it does not unmap the object.
constexpr std::string_view kThreadExit = "__cxa_thread_atexit";

bool IsThreadFunction(std::string_view name) {
  return std::find(kThreadFunctions.begin(), kThreadFunctions.end(), name) !=
             kThreadFunctions.end() ||
         name.starts_with(kStdThread);
}

std::string DisplayName(std::string_view function) {
  return std::string(function.starts_with(kStdThread) ? "std::thread" : function);
}

}  // namespace

std::string Join(const std::vector<std::string>& names) {
  constexpr size_t kMost = 3;
  std::string list;
  for (size_t index = 0; index < std::min(names.size(), kMost); ++index) {
    list += (index == 0 ? "" : ", ") + names[index];
  }
  if (names.size() > kMost) list += " and " + std::to_string(names.size() - kMost) + " more";
  return list;
}

std::vector<std::string> ObjectsBoundTo(const std::string& loader_name, uintptr_t start,
                                        uintptr_t end, bool with_needed) {
  const LoadedObjects objects = LoadedObjects::List();
  std::set<const LoadedObject*> others;
  for (const LoadedObject* object : objects.AtStart()) others.insert(object);
  for (const LoadedObject* object : objects.ClosureOf(loader_name)) {
    if (!with_needed || object->name == loader_name) others.insert(object);
  }
  const auto self = reinterpret_cast<uintptr_t>(&ObjectsBoundTo);
  std::vector<std::string> names;
  for (const auto& object : objects.all()) {
    if (others.contains(object.get()) || (self >= object->start && self < object->end)) continue;
    if (HoldsAddressIn(*object, start, end)) names.push_back(object->name);
  }
  return names;
}

UnloadFacts UnloadFactsOf(const ElfFile& elf,
                          const std::function<bool(std::string_view)>& is_seen) {
  UnloadFacts facts;
  const uint64_t flags = elf.dynamic().Find(DT_FLAGS_1).value_or(0);
  facts.no_delete = (flags & DF_1_NODELETE) != 0;
  facts.is_go = elf.facts().is_go;
  facts.unique_symbols = elf.UniqueSymbols();
  elf.symbols().ForEachImport([&](const elf::Import& import) {
    if (is_seen && is_seen(import.name)) return;
    if (IsThreadFunction(import.name)) {
      facts.thread_functions.push_back(DisplayName(import.name));
    }
    if (import.name.starts_with(kThreadExit)) facts.thread_local_destructors = true;
  });
  return facts;
}

std::vector<std::string> ThreadFunctionsOf(const std::shared_ptr<const LoadedObject>& object) {
  struct Known {
    std::weak_ptr<const LoadedObject> object;
    std::vector<std::string> functions;
  };
  static std::mutex mutex;
  // Never destroyed: threads may still run while the process exits.
  static auto* all = new std::map<const void*, Known>;
  const std::lock_guard lock(mutex);
  Known& known = (*all)[object->headers];
  if (known.object.lock() == object) return known.functions;
  std::set<std::string> functions;
  ForEachReference(*object, [&](std::string_view name) {
    if (IsThreadFunction(name)) functions.insert(DisplayName(name));
  });
  known = {object, {functions.begin(), functions.end()}};
  return known.functions;
}

bool IsSeenFromOutside(std::string_view thread_function) {
  constexpr std::array<std::string_view, 7> kSeen = {
      "pthread_create",      "thrd_create", "std::thread",       "uv_thread_create",
      "uv_thread_create_ex", "tss_create",  "pthread_key_create"};
  return std::find(kSeen.begin(), kSeen.end(), thread_function) != kSeen.end();
}

bool StaysMapped(const UnloadFacts& facts) {
  return facts.is_go || facts.no_delete || !facts.unique_symbols.empty();
}

std::vector<RetainReason> UnmapHazards(const UnloadFacts& facts) {
  if (facts.is_go) return {{"may-run-threads", "its Go runtime has threads that never end"}};
  if (facts.thread_functions.empty()) return {};
  return {{"may-run-threads",
           "its code may still run on a thread: it uses " + Join(facts.thread_functions)}};
}

std::vector<RetainReason> WhyStillMapped(const UnloadFacts& facts,
                                         const std::vector<std::string>& needing,
                                         bool private_name) {
#ifndef __GLIBC__
  return {{"libc-never-unmaps", "dlclose(3) of this C library never unmaps anything"}};
#endif
  std::vector<RetainReason> reasons;
  if (facts.is_go) {
    reasons.push_back({"nodelete", "it contains a Go runtime, which cannot be unmapped"});
  } else if (facts.no_delete) {
    reasons.push_back({"nodelete", "it is linked with -z nodelete"});
  }
  if (!facts.unique_symbols.empty()) {
    reasons.push_back(
        {"unique-symbol",
         "the loader never unmaps it once these symbols are bound: " + Join(facts.unique_symbols)});
  }
  if (facts.thread_local_destructors) {
    reasons.push_back({"thread-local-destructor",
                       "a thread has yet to destroy one of its thread_local variables"});
  }
  if (!needing.empty()) {
    reasons.push_back({"needed-by", "other objects need it: " + Join(needing)});
  }
  if (reasons.empty()) {
    reasons.push_back(
        private_name ? RetainReason{"unknown", "the loader gives no reason"}
                     : RetainReason{"opened-elsewhere", "other code in this process has it open"});
  }
  return reasons;
}

}  // namespace soswap
