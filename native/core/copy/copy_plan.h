#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/copy/snapshot.h"
#include "core/elf/edit.h"

namespace soswap {

class Tracking;

// The last edit: binds the imports of a copy. Returns what tracks its images, null if nothing does;
// `same` makes the bytes those of another copy of the file.
using Binding = std::function<std::shared_ptr<Tracking>(
    const ElfFile& file, std::span<std::byte> copy, const std::shared_ptr<Tracking>& same)>;

// How a file becomes a private copy; lib/native/types.ts: SnapshotOptions.
struct CopyPlan {
  Storage storage = Storage::kMemory;
  Snapshot::Extent extent = Snapshot::Extent::kLoadable;
  bool allow_writer = false;  // take the file even if a process has it open for writing
  bool allow_noexec = false;  // load it although the file system of the file is mounted noexec
  bool maps_copy = true;      // the loader maps the copy, not the file
  std::vector<Edit> edits;    // in this order
  bool own_first = false;     // see core/bind/own_first.h
  Binding bind;               // none if empty
};

}  // namespace soswap
