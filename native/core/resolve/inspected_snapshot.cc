#include "core/resolve/inspected_snapshot.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/file_descriptor.h"
#include "core/base/limits.h"
#include "core/base/loader_name.h"
#include "core/base/path.h"
#include "core/elf/needed_name.h"
#include "core/resolve/dependencies.h"
#include "core/tracking/tracking.h"

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

// A swap may close an image before the loader opens the next, or opens the old one again. It opens
// one file at a time, as taking the snapshot did; for an anchor there are two more, for provided
// dependencies one for each and one.
void AssertDescriptorsLeft(const InspectedSnapshot& taken) {
  const size_t stubs = taken.provided.empty() ? 0 : taken.provided.size() + 1;
  const size_t more = stubs + (NeedsAnchor(taken.elf.facts()) ? 2 : 0);
  if (more == 0) return;
  std::vector<FileDescriptor> spare;
  spare.reserve(more + 1);  // nothing may throw while a descriptor has no owner
  while (spare.size() <= more) {
    spare.emplace_back(fcntl(taken.snapshot->descriptor(), F_DUPFD_CLOEXEC, 0));
  }
  if (!spare.back().valid())
    throw Error(Fault::kSystem, "load", taken.path, DescribeWithLimit(EMFILE), EMFILE);
}

// Whether the library of this name is what an entry of DT_NEEDED means: a relative path goes by its
// last part.
bool Answers(const std::string& name, const std::string& needed) {
  return name == needed || (needed.front() != '/' && name == LastPart(needed));
}

// Those of `provided` that the library needs, in the order of DT_NEEDED, with a name in the copy.
std::vector<Provided> Needed(const ElfFile& elf, const std::vector<Provided>& provided) {
  std::vector<Provided> needed;
  for (const std::string& name : elf.facts().needed) {
    const auto found = std::find_if(provided.begin(), provided.end(),
                                    [&](const Provided& each) { return Answers(each.name, name); });
    const bool again = std::any_of(needed.begin(), needed.end(),
                                   [&](const Provided& each) { return each.name == name; });
    if (name.empty() || found == provided.end() || again) continue;
    Provided& each = needed.emplace_back(*found);
    each.name = name;
    if (each.as == nullptr)
      each.as = std::make_shared<const ProvidedName>(name.size(), elf.subject());
  }
  return needed;
}

}  // namespace

std::shared_ptr<InspectedSnapshot> TakeSnapshot(const std::string& path, const std::string& origin,
                                                const CopyPlan& plan,
                                                const std::vector<Provided>& provided,
                                                const std::shared_ptr<Tracking>& same) {
  auto snapshot = plan.allow_writer ? Copy(path, plan) : CopyUnwritten(path, plan);
  ElfFile elf = ElfFile::Parse(snapshot->bytes(), origin);
  const std::span<std::byte> copy = snapshot->editable();
  std::vector<Provided> renamed;
  if (!provided.empty()) renamed = Needed(elf, provided);
  for (const Provided& each : renamed) RenameNeeded(elf, copy, each.name, each.as->text());
  if (!renamed.empty()) elf = ElfFile::Parse(snapshot->bytes(), origin);
  if (!snapshot->whole()) DropSectionHeaders(copy);
  for (const Edit& edit : plan.edits) edit(elf, copy);
  auto tracking = plan.bind ? plan.bind(elf, copy, same) : nullptr;
  UnloadFacts unload = UnloadFactsOf(elf, [&](std::string_view name) {
    return tracking != nullptr && tracking->AddressOf(name) != 0;
  });
  return std::make_shared<InspectedSnapshot>(InspectedSnapshot{origin,
                                                               std::move(snapshot),
                                                               std::move(elf),
                                                               std::move(unload),
                                                               std::move(tracking),
                                                               {},
                                                               {},
                                                               std::move(renamed)});
}

std::vector<std::string> NeededInFile(const InspectedSnapshot& taken) {
  std::vector<std::string> needed = taken.elf.facts().needed;
  for (const Provided& each : taken.provided) {
    std::replace(needed.begin(), needed.end(), each.as->text(), each.name);
  }
  return needed;
}

void AssertLoadable(const InspectedSnapshot& taken, const CopyPlan& plan) {
  if (taken.snapshot->on_noexec() && !plan.allow_noexec) {
    throw Error(Fault::kNoexec, "load", taken.path,
                "its file system is mounted noexec, which forbids to run code from it; the option "
                "noexec: 'allow' runs a private copy");
  }
  AssertDescriptorsLeft(taken);
  if (plan.maps_copy) AssertNamesLead(taken.snapshot->descriptor(), taken.path);
}

bool StillInFile(const InspectedSnapshot& taken, const std::string& path, const CopyPlan& plan) {
  try {
    const auto now = TakeSnapshot(path, taken.path, plan, taken.provided, taken.tracking);
    if (taken.last_edit) taken.last_edit(now->elf, now->snapshot->editable());
    return now->snapshot->SameBytesAs(*taken.snapshot);
  } catch (const Error& error) {
    if (error.fault() == Fault::kChangedWhileRead) throw;
    return false;  // the file has a defect that it did not have then
  }
}

Resolved Resolve(const InspectedSnapshot& taken, const Requirements& requirements) {
  return Resolve(taken, requirements,
                 Resolution(taken.path, taken.elf.facts(), requirements.closing, taken.provided));
}

Resolved Resolve(const InspectedSnapshot& taken, const Requirements& requirements,
                 const Resolution& resolution) {
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
  resolved.replaced = resolution.Replaced();
  return resolved;
}

}  // namespace soswap
