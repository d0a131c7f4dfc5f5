#include "allocation_failure.h"

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <link.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "core/base/work_threads.h"
#include "core/copy/snapshot.h"
#include "core/elf/file.h"
#include "core/loader/loaded_objects.h"
#include "core/loader/provided_objects.h"
#include "core/loader/stub_object.h"
#include "core/resolve/dependencies.h"
#include "core/resolve/inspected_snapshot.h"
#include "core/resolve/library_search.h"
#include "small_libraries.h"

using soswap::Closing;
using soswap::CopyPlan;
using soswap::EditNamed;
using soswap::ElfFile;
using soswap::LoadedObjects;
using soswap::LoadSnapshot;
using soswap::Provided;
using soswap::ProvidedObject;
using soswap::ProvidedObjects;
using soswap::RequestedSymbols;
using soswap::Resolve;
using soswap::Snapshot;
using soswap::Storage;
using soswap::StubObject;
using soswap::TakeSnapshot;
using soswap::WorkThreads;
using soswap::test::FailEachAllocation;
using soswap::test::FailingAllocation;
using soswap::test::Quoted;
using soswap::test::Workshop;
using soswap::test::WriteText;

namespace {

std::vector<std::string> NamesByLoader() {
  std::vector<std::string> names;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        static_cast<std::vector<std::string>*>(data)->emplace_back(info->dlpi_name);
        return 0;
      },
      &names);
  return names;
}

std::vector<std::string> NamesOf(const LoadedObjects& objects) {
  std::vector<std::string> names;
  for (const auto& object : objects.all()) names.push_back(object->name);
  return names;
}

constexpr unsigned long kLargestFence = 1 << 20;

// What an operation may leave behind.
struct Holdings {
  std::ptrdiff_t descriptors = 0;
  std::ptrdiff_t mappings = 0;  // of files, and small inaccessible ones
  std::vector<std::string> loaded;

  bool operator==(const Holdings&) const = default;
};

Holdings Held() {
  const std::filesystem::directory_iterator descriptors("/proc/self/fd");
  Holdings held{std::distance(begin(descriptors), end(descriptors)), 0, NamesByLoader()};
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    char* rest = nullptr;
    const auto start = std::strtoul(line.c_str(), &rest, 16);
    const auto size = std::strtoul(rest + 1, &rest, 16) - start;
    // Large inaccessible ranges belong to ThreadSanitizer, which cuts them up.
    const bool is_fence = line.find("---p") != std::string::npos && size < kLargestFence;
    if (is_fence || line.find('/') != std::string::npos) ++held.mappings;
  }
  return held;
}

// An allocation fails at each place of the operation. Afterwards it works, and holds nothing.
template <typename Operation>
void CheckOperation(const Operation& operation) {
  operation();  // what is read once for the process is read here, or by an earlier test
  const Holdings before = Held();
  bool same = true;
  CHECK(FailEachAllocation(operation, [&] { same = same && Held() == before; }) > 0);
  CHECK(same);
  operation();
  CHECK(Held() == before);
}

// A library that needs another one through $ORIGIN, and is loaded by a stub object.
struct Libraries {
  Libraries() {
    const auto dependency = workshop.Compile("libdep.so", "int dependency(void) { return 1; }",
                                             "-Wl,-soname,libdep.so");
    path = workshop.Compile(
        "lib.so", "int dependency(void);\nint answer(void) { return dependency(); }",
        Quoted(dependency) + " -Wl,--enable-new-dtags,-rpath,'$ORIGIN' -Wl,-z,nodelete");
    plan.edits = {EditNamed("shorten-needed-from-origin"), EditNamed("clear-nodelete")};
  }

  Workshop workshop;
  std::string path;
  CopyPlan plan;
};

}  // namespace

TEST_CASE("an allocation of this thread fails where a test wants it to") {
  // Too long for the string object itself.
  const auto allocate = [] { return std::string(100, 'a'); };
  {
    const FailingAllocation failing(2);
    CHECK_NOTHROW(allocate());
    CHECK_FALSE(failing.happened());
    CHECK_THROWS_AS(allocate(), std::bad_alloc);
    CHECK(failing.happened());
    CHECK_NOTHROW(allocate());
  }
  CHECK(FailEachAllocation([&] { allocate(), allocate(); }, [] {}) == 2);
}

TEST_CASE("without memory the directories of the loader are read later") {
  // The first call of the process, if no other test came before.
  FailEachAllocation([] { soswap::GetLoaderPaths(); }, [] {});
  CHECK_FALSE(soswap::GetLoaderPaths().standard.empty());
}

TEST_CASE("without memory no snapshot is taken, and nothing is left") {
  const Workshop workshop;
  WriteText(workshop / "file", std::string(100'000, 'a'));
  for (const auto storage : {Storage::kMemory, Storage::kPrivateFile}) {
    CheckOperation([&] { Snapshot::Take(workshop / "file", storage); });
  }
}

TEST_CASE("without memory a snapshot that was loaded is given back all the same") {
  const Workshop workshop;
  WriteText(workshop / "file", "contents");
  const auto kept = Snapshot::Take(workshop / "file", Storage::kMemory);
  const auto operation = [&] {
    const auto snapshot = Snapshot::Take(workshop / "file", Storage::kMemory);
    static_cast<void>(snapshot->NewLoaderName());
  };
  operation();
  const Holdings before = Held();  // with the memory that is kept for the next snapshot
  CHECK(FailEachAllocation(operation, [] {}) > 0);
  operation();
  CHECK(Held() == before);
}

TEST_CASE("without memory no library is inspected, and nothing is left") {
  const Libraries libraries;
  CheckOperation([&] { TakeSnapshot(libraries.path, libraries.path, libraries.plan); });
}

TEST_CASE("without memory no requirement is checked, and nothing is left") {
  const Libraries libraries;
  const auto taken = TakeSnapshot(libraries.path, libraries.path, libraries.plan);
  const auto symbols = std::make_shared<const RequestedSymbols>(
      RequestedSymbols{{"answer", "dependency", "absent"}, {false, false, false}});
  CheckOperation([&] { Resolve(*taken, {symbols, true, {}}); });
  CHECK(Resolve(*taken, {symbols, true, {}}).missing == std::vector<std::string>{"absent"});
  // What it asks the loader about one image it asks with that image loaded.
  const auto name = taken->snapshot->NewLoaderName();
  void* handle = LoadSnapshot(libraries.path, taken->elf.facts(), name, RTLD_NOW);
  CheckOperation([&] { Resolve(*taken, {symbols, true, Closing{{name}}}); });
  dlclose(handle);
}

TEST_CASE("without memory the loaded objects are not listed, and later they are") {
  const Libraries libraries;
  for (int round = 0; round < 3; ++round) {
    void* handle = dlopen((libraries.workshop / "libdep.so").c_str(), RTLD_NOW);
    CHECK(FailEachAllocation([] { LoadedObjects::List(); }, [] {}) > 0);
    CHECK(NamesOf(LoadedObjects::List()) == NamesByLoader());
    dlclose(handle);
    CHECK(FailEachAllocation([] { LoadedObjects::List(); }, [] {}) > 0);
    CHECK(NamesOf(LoadedObjects::List()) == NamesByLoader());
  }
  // The loader is not locked.
  std::thread([] { CHECK(NamesOf(LoadedObjects::List()) == NamesByLoader()); }).join();
}

TEST_CASE("without memory no stub object is made, and nothing is left") {
  const Libraries libraries;
  CheckOperation([&] {
    const StubObject stub({.needed = {"libdep.so"},
                           .soname = {},
                           .filter = {},
                           .search_path = libraries.workshop.path()},
                          RTLD_NOW);
  });
  CheckOperation([&] {
    const StubObject stub(
        {.needed = {"libsoswap-absent.so"}, .soname = {}, .filter = {}, .search_path = ""},
        RTLD_NOW);
  });
}

TEST_CASE("without memory no dependency is provided, and nothing is left") {
  const Libraries libraries;
  const auto path = libraries.workshop / "libdep.so";
  const std::vector<Provided> provided{{"libdep.so", TakeSnapshot(path, path, {}), nullptr}};
  CheckOperation([&] { TakeSnapshot(libraries.path, libraries.path, libraries.plan, provided); });
  const auto taken = TakeSnapshot(libraries.path, libraries.path, libraries.plan, provided);
  void* handle = dlopen(path.c_str(), RTLD_NOW);
  const std::vector<ProvidedObject> objects{{taken->provided.at(0).as->text(), path}};
  CheckOperation([&] {
    const ProvidedObjects ready(libraries.path, objects);
    dlclose(LoadSnapshot(libraries.path, taken->elf.facts(), taken->snapshot->NewLoaderName(),
                         RTLD_NOW));
  });
  dlclose(handle);
}

TEST_CASE("without memory no snapshot is loaded, and nothing is left") {
  const Libraries libraries;
  const auto taken = TakeSnapshot(libraries.path, libraries.path, libraries.plan);
  const auto load = [&] {
    void* handle = LoadSnapshot(libraries.path, taken->elf.facts(),
                                taken->snapshot->NewLoaderName(), RTLD_NOW);
    dlclose(handle);
  };
  CheckOperation(load);
  std::filesystem::remove(libraries.workshop / "libdep.so");
  int refused = 0;
  CheckOperation([&] {
    try {
      load();
    } catch (const soswap::Error&) {
      ++refused;
    }
  });
  CHECK(refused >= 3);  // twice and when no allocation fails any more
}

TEST_CASE("without memory a task runs all the same") {
  int ran = 0;
  int ended = 0;
  const WorkThreads::Task task = [&] { ++ran; };
  const WorkThreads::Task on_end = [&] { ++ended; };
  const int failures = FailEachAllocation(
      [&] {
        WorkThreads threads;
        threads.Run([&task] { task(); }, [&on_end] { on_end(); });
      },
      [] {});
  CHECK(failures > 0);
  CHECK(ran == failures);  // not where there are no WorkThreads
  CHECK(ended == failures);
  ran = 0;
  CHECK(FailEachAllocation([&] { WorkThreads::RunOnNewThread(task); }, [] {}) > 0);
  CHECK(ran > 1);
}
