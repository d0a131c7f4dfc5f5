#pragma once

#include <string>
#include <vector>

#include "core/resolve/inspected_snapshot.h"
#include "core/resolve/resolution.h"

namespace soswap {

// Names that the main program exports although the dependencies of a library define them, so that
// dlopen(3) would take the program's. A name that an object which the process began with defines
// too does not belong here (stdout, std::cout, malloc): that is how a program shares it, or
// replaces it, for all.
struct ContestedNames {
  std::vector<std::string> imports;  // of the library
  // Files of dependencies that would be loaded with the library, and that import or export such a
  // name.
  std::vector<std::string> dependencies;
  // Files of other such dependencies that would miss something of the program if its definitions
  // did not come first for them.
  std::vector<std::string> sharing;
  // Why the dependencies' definitions cannot come first; empty if they can, or if none is
  // contested.
  std::string obstacle;

  bool AmongDependencies() const noexcept { return !imports.empty() || !dependencies.empty(); }
};

// Loads nothing. Any thread.
ContestedNames FindContestedNames(const ElfFile& library, const Resolution& resolution);

// The names of this kind that the library exports.
std::vector<std::string> FindContestedExports(const ElfFile& library, const Resolution& resolution);

// Prepares the private copy for RTLD_DEEPBIND (dlopen(3)) if names are contested among dependencies
// and nothing is in the way, and returns whether it must be loaded with that flag. The loader then
// searches the library and its dependencies before the program, in whatever is loaded with the
// library too. The imports of the library that its dependencies do not contest are bound to the
// definitions of the objects that the process began with, where the flag would pass over those of
// the program. If a dependency needs something of the program, each dependency is loaded apart,
// with the flag or without it.
bool PutOwnFirst(InspectedSnapshot& taken, const Resolution& resolution);

}  // namespace soswap
