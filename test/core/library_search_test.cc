#include "core/resolve/library_search.h"

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/copy/snapshot.h"
#include "core/resolve/loader_cache.h"
#include "small_libraries.h"

using soswap::Error;
using soswap::Fault;
using soswap::FindInLoaderCache;
using soswap::FindLibrary;
using soswap::Snapshot;
using soswap::test::Quoted;
using soswap::test::ReadText;
using soswap::test::Run;
using soswap::test::RunTestCase;
using soswap::test::Workshop;
using soswap::test::WriteText;

namespace {

const std::string kSource = "int answer(void) { return 42; }\n";
const std::string kSoname = "-Wl,-soname,libsearched.so";

// Where dlopen(3) finds it; its message if it does not.
std::string PathByLoader(const std::string& name) {
  void* handle = dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (handle == nullptr) return dlerror();
  link_map* map = nullptr;
  dlinfo(handle, RTLD_DI_LINKMAP, &map);
  const std::string path = map->l_name;
  dlclose(handle);
  return path;
}

void WriteForOtherMachine(const std::string& from, const std::string& to) {
  std::string bytes = ReadText(from);
  bytes[offsetof(Elf64_Ehdr, e_machine)] = 8;  // MIPS
  WriteText(to, bytes);
}

#if defined(__x86_64__) && defined(__GLIBC__)

std::span<const std::byte> BytesOf(const std::string& text) {
  return std::as_bytes(std::span<const char>(text));
}

const std::vector<std::string> kLevels{"x86-64-v3", "x86-64-v2"};

// A cache of the system's libraries and those in one directory; empty if there is no ldconfig(8).
std::string MakeCache(const Workshop& workshop, const std::string& format) {
  WriteText(workshop / "conf", workshop / "lib\n");
  const std::string cache = workshop / "cache";
  const std::string command = "/sbin/ldconfig -X -c " + format + " -C " + Quoted(cache) + " -f " +
                              Quoted(workshop / "conf") + " 2>/dev/null";
  return Run(command) == 0 ? ReadText(cache) : "";
}

#endif

}  // namespace

TEST_CASE("a loaded library is found at its file") {
  CHECK(FindLibrary("libc.so.6") == PathByLoader("libc.so.6"));
}

TEST_CASE("an absent library is refused, with the places that were searched") {
  try {
    FindLibrary("libsoswap-absent.so");
    FAIL("found");
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::kNotFound);
    CHECK(error.subject() == "libsoswap-absent.so");
    CHECK(std::string(error.what()).find("looked in ") != std::string::npos);
    CHECK(std::string(error.what()).find("/usr/lib") != std::string::npos);
  }
  CHECK_THROWS_AS(FindLibrary(""), Error);
}

TEST_CASE("libraries of the system are found where the loader finds them") {
  const Workshop workshop;
  if (Run("/sbin/ldconfig -p > " + Quoted(workshop / "list") + " 2>/dev/null") != 0) return;
  std::istringstream list(ReadText(workshop / "list"));
  constexpr int kOneIn = 20;
  int number = 0;
  for (std::string line, name; std::getline(list, line);) {
    std::istringstream(line) >> name;
    if (name.find(".so") == std::string::npos || ++number % kOneIn != 0) continue;
    // The program is not run: the loader prints what it would load for it, the preloaded one first.
    Run("LD_TRACE_LOADED_OBJECTS=1 LD_PRELOAD=" + Quoted(name) + " /bin/true > " +
        Quoted(workshop / "trace") + " 2>/dev/null");
    const std::string trace = ReadText(workshop / "trace");
    const std::string prefix = "\t" + name + " => ";
    const auto at = trace.find(prefix);
    if (at == std::string::npos) continue;
    const auto start = at + prefix.size();
    CHECK(FindLibrary(name) == trace.substr(start, trace.find(" (", start) - start));
  }
}

TEST_CASE("child: LD_LIBRARY_PATH" * doctest::skip()) {
  const std::string expected = std::getenv("EXPECTED");
  setenv("LD_LIBRARY_PATH", std::getenv("ELSEWHERE"), 1);
  CHECK(FindLibrary("libsearched.so") == expected);
  CHECK_MESSAGE(dlopen("libsearched.so", RTLD_LAZY | RTLD_NOLOAD) == nullptr, "it got loaded");
  const std::string by_loader = PathByLoader("libsearched.so");
  CHECK_MESSAGE(by_loader.find(expected) == 0, by_loader);
}

TEST_CASE("the value of LD_LIBRARY_PATH is that from the start of the process") {
  const Workshop workshop;
  const std::string first = workshop.Compile("first/libsearched.so", kSource, kSoname);
  const std::string second = workshop.Compile("second/libsearched.so", kSource, kSoname);
  const auto run = [&](const std::string& expected) {
    return RunTestCase("child: LD_LIBRARY_PATH",
                       "LD_LIBRARY_PATH=" + workshop.path() + "/first:" + workshop.path() +
                           "/second ELSEWHERE=" + workshop.path() + "/second EXPECTED=" + expected);
  };
  CHECK(run(first) == 0);

  SUBCASE("a file for another machine is skipped") {
    WriteForOtherMachine(second, first);
    CHECK(run(second) == 0);
  }
  SUBCASE("a dangling link is skipped") {
    std::filesystem::remove(first);
    std::filesystem::create_symlink("nowhere", first);
    CHECK(run(second) == 0);
  }
  SUBCASE("a file that is no shared object ends the search, as in the loader") {
    WriteText(first, "GROUP ( libelsewhere.so )\n");
    CHECK(run(first) == 0);
  }
#if defined(__x86_64__)
  SUBCASE("a directory for this kind of processor comes first if the loader knows of it") {
    const std::string list = workshop / "levels";
    Run("/lib64/ld-linux-x86-64.so.2 --help > " + Quoted(list) + " 2>/dev/null");
    for (const std::string level : {"x86-64-v2", "x86-64-v3", "x86-64-v4"}) {
      const std::string better =
          workshop.Compile("first/glibc-hwcaps/" + level + "/libsearched.so", kSource, kSoname);
      if (ReadText(list).find(level + " (supported, searched)") == std::string::npos) continue;
      CHECK(run(better) == 0);
    }
  }
#endif
}

TEST_CASE("child: a snapshot is loaded" * doctest::skip()) {
  const std::string path = std::getenv("EXPECTED");
  const auto snapshot = Snapshot::Take(path, soswap::Storage::kMemory);
  void* handle = dlopen(snapshot->NewLoaderName().c_str(), RTLD_LAZY);
  REQUIRE(handle != nullptr);
  CHECK(FindLibrary("libsearched.so") == path);
  dlclose(handle);
}

TEST_CASE("a loaded snapshot does not hide its file") {
  const Workshop workshop;
  const std::string path = workshop.Compile("libsearched.so", kSource, kSoname);
  CHECK(RunTestCase("child: a snapshot is loaded",
                    "LD_LIBRARY_PATH=" + workshop.path() + " EXPECTED=" + path) == 0);
}

#if defined(__x86_64__) && defined(__GLIBC__)

TEST_CASE("the loader's cache is read in the format of ldconfig(8)") {
  const Workshop workshop;
  const std::string plain = workshop.Compile("lib/libsearched.so", kSource, kSoname);
  const std::string cache = MakeCache(workshop, "new");
  if (cache.empty()) return;
  CHECK(FindInLoaderCache(BytesOf(cache), "libsearched.so", kLevels) == plain);
  CHECK_FALSE(FindInLoaderCache(BytesOf(cache), "libsearched", kLevels));
  const std::string both = MakeCache(workshop, "compat");
  CHECK(both.size() > cache.size());
  CHECK(FindInLoaderCache(BytesOf(both), "libsearched.so", kLevels) == plain);
}

TEST_CASE("the best entry for the processor is taken from the cache") {
  const Workshop workshop;
  const std::string directory = "lib/glibc-hwcaps/";
  const std::string plain = workshop.Compile("lib/libsearched.so", kSource, kSoname);
  const auto better = workshop.Compile(directory + "x86-64-v2/libsearched.so", kSource, kSoname);
  const auto best = workshop.Compile(directory + "x86-64-v3/libsearched.so", kSource, kSoname);
  workshop.Compile(directory + "x86-64-v4/libsearched.so", kSource, kSoname);
  const std::string cache = MakeCache(workshop, "new");
  if (cache.empty()) return;
  CHECK(FindInLoaderCache(BytesOf(cache), "libsearched.so", kLevels) == best);
  CHECK(FindInLoaderCache(BytesOf(cache), "libsearched.so", {"x86-64-v2"}) == better);
  CHECK(FindInLoaderCache(BytesOf(cache), "libsearched.so", {}) == plain);
  CHECK(FindInLoaderCache(BytesOf(MakeCache(workshop, "compat")), "libsearched.so", kLevels) ==
        best);
}

TEST_CASE("a damaged cache does no harm") {
  const Workshop workshop;
  workshop.Compile("lib/glibc-hwcaps/x86-64-v3/libsearched.so", kSource, kSoname);
  std::string cache = MakeCache(workshop, "new");
  constexpr size_t kStep = 37;
  for (size_t size = 0; size < cache.size(); size += kStep) {
    const std::vector<std::byte> part(BytesOf(cache).begin(),
                                      BytesOf(cache).begin() + static_cast<ptrdiff_t>(size));
    FindInLoaderCache(part, "libsearched.so", kLevels);
  }
  for (size_t at = 0; at < cache.size(); at += at < 4 * kStep ? 1 : kStep) {
    const char before = cache[at];
    cache[at] = static_cast<char>(~before);
    FindInLoaderCache(BytesOf(cache), "libsearched.so", kLevels);
    cache[at] = before;
  }
  CHECK_FALSE(FindInLoaderCache({}, "libsearched.so", kLevels));
}

#endif
