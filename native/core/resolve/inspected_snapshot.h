#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/copy/copy_plan.h"
#include "core/copy/snapshot.h"
#include "core/elf/file.h"
#include "core/loader/unload.h"
#include "core/resolve/provided.h"
#include "core/resolve/resolution.h"

namespace soswap {

// A dependency that must be loaded before an image, by a dlopen(3) of its own.
struct LoadedApart {
  std::string path;
  bool own_first = false;  // with RTLD_DEEPBIND
};

// A snapshot and its parsed ELF tables.
struct InspectedSnapshot {
  std::string path;
  std::shared_ptr<Snapshot> snapshot;
  ElfFile elf;  // reads the snapshot's bytes; its facts are the file's, but for provided names
  UnloadFacts unload;                  // of the edited copy
  std::shared_ptr<Tracking> tracking;  // null: nothing of it is tracked
  Edit last_edit;                      // one that was made after those of the plan; may be empty
  std::vector<LoadedApart> apart;      // in order
  std::vector<Provided> provided;      // in the order of DT_NEEDED
};

// Copies, parses and edits the file at `path`, in this order. `origin` is the path of the library,
// from which $ORIGIN and messages are derived. Of `provided`, those count that the library needs.
// Any thread. Throws Error.
std::shared_ptr<InspectedSnapshot> TakeSnapshot(const std::string& path, const std::string& origin,
                                                const CopyPlan& plan,
                                                const std::vector<Provided>& provided = {},
                                                const std::shared_ptr<Tracking>& same = nullptr);

// What the library needs by the names in the file.
std::vector<std::string> NeededInFile(const InspectedSnapshot& taken);

// Checks that the loader can map what the plan says, and may. Any thread. Throws Error: kNoexec,
// kNoProc, kSystem.
void AssertLoadable(const InspectedSnapshot& taken, const CopyPlan& plan);

// Checks whether a snapshot of the file, taken now by the same plan, has the same bytes. Any
// thread. Throws Error, kChangedWhileRead, if a process is writing the file.
bool StillInFile(const InspectedSnapshot& taken, const std::string& path, const CopyPlan& plan);

// The symbols that the user of an image requests.
struct RequestedSymbols {
  std::vector<std::string> names;
  std::vector<bool> optional;  // for each name: the image may lack it
};

// What an image of a snapshot must provide, and what will be closed before it is opened.
struct Requirements {
  std::shared_ptr<const RequestedSymbols> symbols;
  bool bind_now;    // every symbol that the library imports must be defined
  Closing closing;  // first
};

// What the library and its dependencies provide.
struct Resolved {
  std::vector<std::string> missing;        // requested symbols that are not optional
  std::vector<UndefinedSymbol> undefined;  // imports; only with bind_now
  std::vector<std::string> replaced;       // loaded dependencies whose file is another one now
};

// Checks the requirements without loading anything. Any thread. Throws Error if a dependency is
// missing.
Resolved Resolve(const InspectedSnapshot& taken, const Requirements& requirements);
// With a resolution of the library, which heeds `closing`.
Resolved Resolve(const InspectedSnapshot& taken, const Requirements& requirements,
                 const Resolution& resolution);

}  // namespace soswap
