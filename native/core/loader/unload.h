#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/elf/file.h"

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

// Reads the current bytes, which may be edited. Leaves out imports that are bound, for what they
// are bound to sees what they do, and those of which `is_seen` says so by name.
UnloadFacts UnloadFactsOf(const ElfFile& elf,
                          const std::function<bool(std::string_view)>& is_seen = nullptr);

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
