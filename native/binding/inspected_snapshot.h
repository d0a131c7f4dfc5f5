#pragma once

#include <memory>
#include <string>
#include <vector>

#include "binding/call/slots.h"
#include "core/copy/snapshot.h"
#include "core/elf/file.h"
#include "core/loader/unload.h"
#include "core/resolve/resolution.h"

namespace soswap {

// A snapshot and what its ELF tables say.
struct InspectedSnapshot {
  std::string path;
  std::shared_ptr<Snapshot> snapshot;
  ElfFile elf;  // reads the snapshot's bytes
  UnloadFacts unload;
};

// What a snapshot is kept in, and how it may differ from the file; lib/native/addon.ts: SnapshotOptions.
struct SnapshotOptions {
  bool in_private_file;
  bool allow_writer;  // take it even if somebody has the file open for writing
  bool demote_unique;
  bool clear_no_delete;
  bool symbolic;
  bool debug_info;  // copy what only debuggers read, however much it is
  bool verbatim;    // copy every byte, and change none
};

// Copies, inspects and edits, in this order. `path` is the file, `origin` the path that the
// library goes by. Any thread. Throws Error.
std::shared_ptr<InspectedSnapshot> TakeSnapshot(const std::string& path, const std::string& origin,
                                                const SnapshotOptions& options);

// What an image of a snapshot has to provide, and what it will find.
struct Needs {
  std::shared_ptr<const SlotNames> names;
  bool bind_now;        // every symbol that the library imports has to be there
  std::string leaving;  // the loader's name of the image that is closed before
};

// What the file and its dependencies tell about the symbols.
struct Resolved {
  std::vector<std::string> missing;
  std::vector<UndefinedSymbol> undefined;
  std::vector<RetainReason> hazards;
  std::vector<std::string> replaced;
};

// Looks for what is needed, without loading anything. Any thread. Throws Error if a dependency is
// missing.
Resolved Resolve(const InspectedSnapshot& taken, const Needs& needs);

// Whether the file has the bytes that a snapshot was made of, given the same options. Any thread.
// Throws Error, kChangedWhileRead: somebody is writing the file.
bool StillInFile(const InspectedSnapshot& taken, const std::string& path,
                 const SnapshotOptions& options);

}  // namespace soswap
