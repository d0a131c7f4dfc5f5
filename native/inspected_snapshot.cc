#include "inspected_snapshot.h"

#include <cstddef>
#include <span>
#include <utility>

#include "core/dependencies.h"
#include "core/elf_edit.h"
#include "core/error.h"

namespace soswap {

std::shared_ptr<InspectedSnapshot> TakeSnapshot(const std::string& path, const std::string& origin,
                                                const SnapshotOptions& options) {
  auto snapshot = Snapshot::Take(
      path, options.in_private_file ? Snapshot::Storage::kPrivateFile : Snapshot::Storage::kMemory,
      options.debug_info || options.verbatim ? Snapshot::Extent::kWhole
                                             : Snapshot::Extent::kLoadable);
  // What is wrong with a file that is still being written says nothing about the file it will be.
  if (snapshot->open_for_writing() && !options.allow_writer) {
    throw Error(Fault::kChangedWhileRead, "load", origin, "somebody has it open for writing");
  }
  ElfFile elf = ElfFile::Parse(snapshot->bytes(), origin);
  const std::span<std::byte> copy = snapshot->editable();
  if (!snapshot->whole()) DropSectionHeaders(copy);
  if (!options.verbatim) ShortenNeededFromOrigin(elf, copy);
  if (options.demote_unique) DemoteUniqueSymbols(elf, copy);
  if (options.symbolic && !BindSymbolically(elf, copy)) {
    throw Error(Fault::kMalformed, "load", origin,
                "its dynamic section has no room for DT_SYMBOLIC, which scope 'global' needs");
  }
  UnloadFacts unload = UnloadFactsOf(elf);
  if (options.clear_no_delete && !unload.is_go && ClearNoDelete(elf, copy)) {
    unload.no_delete = false;
  }
  return std::make_shared<InspectedSnapshot>(
      InspectedSnapshot{origin, std::move(snapshot), std::move(elf), std::move(unload)});
}

bool StillInFile(const InspectedSnapshot& taken, const std::string& path,
                 const SnapshotOptions& options) {
  try {
    return TakeSnapshot(path, taken.path, options)->snapshot->SameBytesAs(*taken.snapshot);
  } catch (const Error& error) {
    if (error.fault() == Fault::kChangedWhileRead) throw;
    return false;  // whatever is wrong with the file now, it was not then
  }
}

}  // namespace soswap
