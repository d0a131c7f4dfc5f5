#include "core/resolve/inspected_snapshot.h"

#include <chrono>
#include <cstddef>
#include <span>
#include <thread>
#include <utility>

#include "core/base/error.h"
#include "core/elf/edit.h"
#include "core/resolve/dependencies.h"

namespace soswap {

namespace {

std::shared_ptr<Snapshot> Copy(const std::string& path, const SnapshotOptions& options) {
  return Snapshot::Take(
      path, options.in_private_file ? Snapshot::Storage::kPrivateFile : Snapshot::Storage::kMemory,
      options.debug_info || options.verbatim ? Snapshot::Extent::kWhole
                                             : Snapshot::Extent::kLoadable);
}

// A copy of a file that nobody has open for writing: what is wrong with one that is still being
// written says nothing about the file it will be. Whoever has just closed it may have started a
// child process meanwhile, which has the descriptor until it calls execve(2). It is looked at twice
// at least, however busy the machine is.
std::shared_ptr<Snapshot> CopyUnwritten(const std::string& path, const SnapshotOptions& options) {
  constexpr std::chrono::milliseconds kPatience{50};
  const auto begin = std::chrono::steady_clock::now();
  for (bool again = false;; again = true) {
    auto snapshot = Copy(path, options);
    if (!snapshot->open_for_writing()) return snapshot;
    if (again && std::chrono::steady_clock::now() - begin > kPatience) {
      throw Error(Fault::kChangedWhileRead, "load", path, "somebody has it open for writing");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace

std::shared_ptr<InspectedSnapshot> TakeSnapshot(const std::string& path, const std::string& origin,
                                                const SnapshotOptions& options) {
  auto snapshot = options.allow_writer ? Copy(path, options) : CopyUnwritten(path, options);
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

Resolved Resolve(const InspectedSnapshot& taken, const Requirements& requirements) {
  const Resolution resolution(taken.path, taken.elf.facts(), requirements.closing_image);
  resolution.ThrowIfMissing();
  Resolved resolved;
  const RequestedSymbols& symbols = *requirements.symbols;
  for (size_t index = 0; index < symbols.names.size(); ++index) {
    const std::string& name = symbols.names[index];
    if (!symbols.optional[index] && !taken.elf.Defines(name) && !resolution.Provides(name)) {
      resolved.missing.push_back(name);
    }
  }
  if (requirements.bind_now) resolved.undefined = resolution.Undefined(taken.elf);
  resolved.hazards = resolution.DependencyHazards();
  resolved.replaced = resolution.Replaced();
  return resolved;
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
