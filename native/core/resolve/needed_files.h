#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/elf/file.h"

namespace soswap {

// The files that a library needs and that were deployed with it: its own search path finds them,
// or the one of what loads it.
struct NeededFiles {
  // For each entry of DT_NEEDED, in order; empty where these directories do not have it.
  std::vector<std::string> paths;
  // The directories that its dependencies search too: DT_RPATH is inherited, DT_RUNPATH is not.
  std::vector<std::string> inherited;
};

// `path`: the path of the library, which gives $ORIGIN. `inherited`: the directories that it
// inherits. Looks at no loaded object. Any thread.
NeededFiles FindNeededFiles(const std::string& path, std::span<const std::string> needed,
                            const ElfFacts& facts, std::span<const std::string> inherited);

}  // namespace soswap
