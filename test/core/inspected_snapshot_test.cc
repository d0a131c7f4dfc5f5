#include "core/resolve/inspected_snapshot.h"

#include <doctest/doctest.h>
#include <fcntl.h>

#include <memory>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/file_descriptor.h"
#include "small_libraries.h"

using soswap::CopyPlan;
using soswap::EditNamed;
using soswap::Error;
using soswap::Fault;
using soswap::FileDescriptor;
using soswap::InspectedSnapshot;
using soswap::RequestedSymbols;
using soswap::Resolve;
using soswap::Snapshot;
using soswap::StillInFile;
using soswap::TakeSnapshot;
using soswap::test::ReadText;
using soswap::test::Workshop;
using soswap::test::WriteText;

namespace {

const std::string kSource = "int absent(void);\nint answer(void) { return absent(); }\n";

std::string TextOf(const InspectedSnapshot& taken) {
  const auto bytes = taken.snapshot->bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

CopyPlan PlanWith(const std::string& edit) {
  CopyPlan plan;
  plan.edits.push_back(EditNamed(edit));
  return plan;
}

}  // namespace

TEST_CASE("a plan without edits changes no byte") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kSource, "-Wl,-z,nodelete");
  CopyPlan plan;
  plan.extent = Snapshot::Extent::kWhole;
  for (const auto storage : {soswap::Storage::kMemory, soswap::Storage::kPrivateFile}) {
    plan.storage = storage;
    const auto taken = TakeSnapshot(path, path, plan);
    CHECK(TextOf(*taken) == ReadText(path));
    CHECK(taken->unload.no_delete);
  }
}

TEST_CASE("the unload facts include the edits, the other facts are those of the file") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kSource, "-Wl,-z,nodelete");
  const auto taken = TakeSnapshot(path, path, PlanWith("clear-nodelete"));
  CHECK(taken->elf.facts().flags.no_delete);
  CHECK_FALSE(taken->unload.no_delete);
  CHECK_FALSE(TextOf(*taken) == ReadText(path));
}

TEST_CASE("a caller may pass an edit of its own") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kSource);
  CopyPlan plan;
  const std::byte mark{0xa5};
  plan.edits.emplace_back(
      [mark](const soswap::ElfFile&, std::span<std::byte> copy) { copy.back() = mark; });
  CHECK(TakeSnapshot(path, path, plan)->snapshot->bytes().back() == mark);
}

TEST_CASE("a file is compared with a snapshot by a plan") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kSource, "-Wl,-z,nodelete");
  const CopyPlan plan = PlanWith("clear-nodelete");
  const auto taken = TakeSnapshot(path, path, plan);
  CHECK(StillInFile(*taken, path, plan));
  CHECK_FALSE(StillInFile(*taken, path, {}));
  workshop.Compile("lib.so", "int other(void) { return 1; }\n");
  CHECK_FALSE(StillInFile(*taken, path, plan));
  WriteText(path, "no library");
  CHECK_FALSE(StillInFile(*taken, path, plan));
}

TEST_CASE("a file that is open for writing is refused unless the plan allows it") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kSource);
  const FileDescriptor writer(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  try {
    TakeSnapshot(path, path, {});
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::kChangedWhileRead);
  }
  CopyPlan plan;
  plan.allow_writer = true;
  CHECK(TextOf(*TakeSnapshot(path, path, plan)).size() == ReadText(path).size());
}

TEST_CASE("requirements are checked without loading anything") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kSource);
  const auto taken = TakeSnapshot(path, path, {});
  const auto symbols = std::make_shared<const RequestedSymbols>(
      RequestedSymbols{{"answer", "gone", "spare", "malloc"}, {false, false, true, false}});
  const auto lazy = Resolve(*taken, {symbols, false, {}});
  CHECK(lazy.missing == std::vector<std::string>{"gone"});
  CHECK(lazy.undefined.empty());
  const auto now = Resolve(*taken, {symbols, true, {}});
  REQUIRE(now.undefined.size() == 1);
  CHECK(now.undefined[0].name == "absent");
}
