#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/elf/file.h"
#include "core/loader/loaded_objects.h"

namespace soswap {

// Why an image is still mapped, or should stay mapped. `code` is one of RetainReason.code in
// lib/swap/report.ts, `detail` a sentence without a capital or a full stop.
struct RetainReason {
  std::string code;
  std::string detail;
};

// The facts of a file that decide whether its image can be unmapped.
struct UnloadFacts {
  bool no_delete = false;
  bool is_go = false;
  bool thread_local_destructors = false;
  std::vector<std::string> unique_symbols;
  std::vector<std::string> thread_functions;  // imports by which code runs after dlclose(3)
};

// Reads the current bytes, which may be edited. Leaves out imports of which `is_seen` says that
// what they are bound to sees what they do.
UnloadFacts UnloadFactsOf(const ElfFile& elf,
                          const std::function<bool(std::string_view)>& is_seen = nullptr);

// The loaded objects that hold an address from `start` to below `end`, where the object of this
// name lies: they are bound to symbols of it, or code of theirs has put it there. Without those
// that the process began with; with those that the object needs itself, and that go with it if they
// can, only if `with_needed`. Any thread.
std::vector<std::string> ObjectsBoundTo(const std::string& loader_name, uintptr_t start,
                                        uintptr_t end, bool with_needed);

// As messages have it: the first few of the names.
std::string Join(const std::vector<std::string>& names);

// Those functions that a loaded object imports. Remembers them for as long as it is loaded.
std::vector<std::string> ThreadFunctionsOf(const std::shared_ptr<const LoadedObject>& object);

// Whether one can see, from outside of the object that calls the function, that what was begun with
// it runs only code of objects that are kept loaded: it starts a thread, or makes a key, whose
// destructor is code of the object itself or else an address that the C library holds.
bool IsSeenFromOutside(std::string_view thread_function);

// Whether the loader certainly keeps its image.
bool StaysMapped(const UnloadFacts& facts);

// Why unmapping the image could crash the process: its code may run later, on another thread.
std::vector<RetainReason> UnmapHazards(const UnloadFacts& facts);

// Why a closed image is still mapped, as far as its file and `needing`, the names of the objects
// that need it, show. Never empty. `private_name`: no other code can have opened the image by its
// name.
std::vector<RetainReason> WhyStillMapped(const UnloadFacts& facts,
                                         const std::vector<std::string>& needing,
                                         bool private_name);

}  // namespace soswap
