#pragma once

#include <string>
#include <vector>

#include "core/elf/file.h"

namespace soswap {

// Why an image is still mapped, or would better stay so. `code` is one of RetainReason.code in
// lib/image/image-info.ts, `detail` a sentence without a capital or a full stop.
struct RetainReason {
  std::string code;
  std::string detail;
};

// The loaded objects that need the one of this name. Any thread.
std::vector<std::string> ObjectsThatNeed(const std::string& loader_name);

// What a file tells about how its image can be unloaded.
struct UnloadFacts {
  bool no_delete = false;
  bool is_go = false;
  bool thread_local_destructors = false;
  std::vector<std::string> unique_symbols;
  std::vector<std::string> thread_functions;  // imports by which code runs after dlclose(3)
};

// Reads the bytes as they are now: edits count.
UnloadFacts UnloadFactsOf(const ElfFile& elf);

// Whether the loader is sure to keep an image of it.
bool StaysMapped(const UnloadFacts& facts);

// Why unmapping an image could crash the process: code of it may run later, on another thread.
std::vector<RetainReason> UnmapHazards(const UnloadFacts& facts);

// Why an image that was closed is still there, as far as the file and the other loaded objects
// tell. Never empty. `private_name`: nobody else can have opened it by its name.
std::vector<RetainReason> WhyStillMapped(const UnloadFacts& facts, const std::string& loader_name,
                                         bool private_name);

}  // namespace soswap
