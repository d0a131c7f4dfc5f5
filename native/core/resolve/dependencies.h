#pragma once

#include <string>

#include "core/elf/file.h"

namespace soswap {

// A snapshot lies in no directory, so the loader does not find what $ORIGIN leads to. Everything
// else in a library's search (absolute and relative directories, LD_LIBRARY_PATH, DT_RPATH of the
// program, the cache) comes out the same for a snapshot as for its file.

// Whether the loader needs help to find the dependencies of a snapshot of this library. Any thread.
bool NeedsAnchor(const ElfFacts& facts);

// dlopen(3) of a snapshot, with the dependencies that its file at `path` has. `loader_name` is the
// snapshot's, `mode` as in dlopen(3). The caller owns the handle.
//
// Where $ORIGIN matters, the snapshot is loaded together with its dependencies by a stub object,
// the "anchor", whose search path names the directory. So they are loaded, bound and initialised in
// one go and in the order of a plain dlopen of the file. The anchor is closed at once: the image
// itself then keeps its dependencies.
//
// Throws Error: kMissingDependency names what is missing, who needs it and where it was looked for;
// kLoader has the loader's text; kSystem. Any thread, as dlopen(3).
void* LoadSnapshot(const std::string& path, const ElfFacts& facts, const std::string& loader_name,
                   int mode);

}  // namespace soswap
