#pragma once

#include <string>

#include "core/elf/file.h"

namespace soswap {

// A snapshot has no directory, so the loader finds nothing through $ORIGIN. All other steps of the
// search (absolute and relative directories, LD_LIBRARY_PATH, DT_RPATH of the program, the cache)
// give the same result for a snapshot as for its file.

// Whether the loader needs help to find the dependencies of a snapshot of this library. Any thread.
bool NeedsAnchor(const ElfFacts& facts);

// Loads a snapshot by dlopen(3) with the dependencies that its file at `path` has. `loader_name` is
// the snapshot's name, `mode` as in dlopen(3). The caller owns the handle.
//
// If the library uses $ORIGIN, a stub object, the "anchor", loads the snapshot together with its
// dependencies: its search path names the directory. So all are loaded, bound and initialised in
// one step and in the order of a plain dlopen of the file. The anchor is closed at once, because
// the image itself then keeps its dependencies.
//
// Throws Error: kMissingDependency names the missing object, the object that needs it and the
// places that were searched; kLoader has the loader's text; kSystem. Any thread.
void* LoadSnapshot(const std::string& path, const ElfFacts& facts, const std::string& loader_name,
                   int mode);

}  // namespace soswap
