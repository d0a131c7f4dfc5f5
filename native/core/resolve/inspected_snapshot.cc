#include "core/resolve/inspected_snapshot.h"

#include <chrono>
#include <cstddef>
#include <span>
#include <thread>
#include <utility>

#include "core/base/error.h"

namespace soswap {
namespace {

std::shared_ptr<Snapshot> Copy(const std::string& path, const CopyPlan& plan) {
  return Snapshot::Take(path, plan.storage, plan.extent);
}

// Copies a file that no process has open for writing: the defects of a half-written file say
// nothing about the complete one. A process that has just closed the file may have started a child,
// which keeps the descriptor until it calls execve(2). So this tries at least twice, however busy
// the machine is.
std::shared_ptr<Snapshot> CopyUnwritten(const std::string& path, const CopyPlan& plan) {
  constexpr std::chrono::milliseconds kPatience{50};
  const auto begin = std::chrono::steady_clock::now();
  for (bool again = false;; again = true) {
    auto snapshot = Copy(path, plan);
    if (!snapshot->open_for_writing()) return snapshot;
    if (again && std::chrono::steady_clock::now() - begin > kPatience) {
      throw Error(Fault::kChangedWhileRead, "load", path, "a process has it open for writing");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace

std::shared_ptr<InspectedSnapshot> TakeSnapshot(const std::string& path, const std::string& origin,
                                                const CopyPlan& plan,
                                                const std::shared_ptr<Tracking>& same) {
  auto snapshot = plan.allow_writer ? Copy(path, plan) : CopyUnwritten(path, plan);
  ElfFile elf = ElfFile::Parse(snapshot->bytes(), origin);
  const std::span<std::byte> copy = snapshot->editable();
  if (!snapshot->whole()) DropSectionHeaders(copy);
  for (const Edit& edit : plan.edits) edit(elf, copy);
  auto tracking = plan.bind ? plan.bind(elf, copy, same) : nullptr;
  UnloadFacts unload = UnloadFactsOf(elf);
  return std::make_shared<InspectedSnapshot>(InspectedSnapshot{
      origin, std::move(snapshot), std::move(elf), std::move(unload), std::move(tracking)});
}

bool StillInFile(const InspectedSnapshot& taken, const std::string& path, const CopyPlan& plan) {
  try {
    return TakeSnapshot(path, taken.path, plan, taken.tracking)
        ->snapshot->SameBytesAs(*taken.snapshot);
  } catch (const Error& error) {
    if (error.fault() == Fault::kChangedWhileRead) throw;
    return false;  // the file has a defect that it did not have then
  }
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

}  // namespace soswap
