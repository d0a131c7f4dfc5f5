#include "core/resolve/dependencies.h"

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <link.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/copy/snapshot.h"
#include "core/elf/edit.h"
#include "core/elf/file.h"
#include "core/loader/loaded_objects.h"
#include "core/loader/stub_object.h"
#include "core/resolve/resolution.h"
#include "small_libraries.h"

using soswap::Closing;
using soswap::ElfFile;
using soswap::Error;
using soswap::Fault;
using soswap::LoadedObject;
using soswap::LoadedObjects;
using soswap::LoadSnapshot;
using soswap::NeedsAnchor;
using soswap::ReplacedFiles;
using soswap::Resolution;
using soswap::ShortenNeededFromOrigin;
using soswap::Snapshot;
using soswap::StubObject;
using soswap::test::Quoted;
using soswap::test::ReadText;
using soswap::test::RunTestCase;
using soswap::test::Workshop;
using soswap::test::WriteText;

namespace {

const std::string kOriginRunpath = "-Wl,--enable-new-dtags,-rpath,'$ORIGIN'";
const std::string kOriginRpath = "-Wl,--disable-new-dtags,-rpath,'$ORIGIN'";

std::string DependencySource(int value) {
  return "int dependency(void) { return " + std::to_string(value) + "; }\n";
}

const std::string kLibrarySource =
    "int dependency(void);\nint answer(void) { return 100 + dependency(); }\n";

std::string Soname(const std::string& name) { return "-Wl,-soname,'" + name + "'"; }

bool IsLoaded(const std::string& name) { return LoadedObjects::List().Find(name) != nullptr; }

// A file as it would be taken for an image: copied, parsed, edited.
struct Candidate {
  explicit Candidate(const std::string& file)
      : path(file),
        snapshot(Snapshot::Take(file, soswap::Storage::kMemory)),
        elf(ElfFile::Parse(snapshot->bytes(), file)) {
    ShortenNeededFromOrigin(elf, snapshot->editable());
  }

  std::string path;
  std::shared_ptr<Snapshot> snapshot;
  ElfFile elf;
};

// A snapshot that is loaded with its dependencies.
class Loaded final {
 public:
  explicit Loaded(const std::string& path, int mode = RTLD_NOW)
      : candidate_(path), name_(candidate_.snapshot->NewLoaderName()) {
    handle_ = LoadSnapshot(path, candidate_.elf.facts(), name_, mode);
  }
  Loaded(const Loaded&) = delete;
  Loaded& operator=(const Loaded&) = delete;
  ~Loaded() { Close(); }

  void Close() {
    if (handle_ != nullptr) dlclose(handle_);
    handle_ = nullptr;
  }

  int Call(const char* symbol) const {
    return reinterpret_cast<int (*)()>(dlsym(handle_, symbol))();
  }
  const std::string& name() const { return name_; }
  const ElfFile& elf() const { return candidate_.elf; }

 private:
  Candidate candidate_;
  std::string name_;
  void* handle_ = nullptr;
};

int Answer(const std::string& path) { return Loaded(path).Call("answer"); }

// The message with which loading it is refused for a missing dependency.
std::string Refusal(const std::string& path) {
  try {
    const Loaded loaded(path);
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::kMissingDependency);
    CHECK(error.subject() == path);
    return error.what();
  }
  FAIL("it was loaded");
  return {};
}

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("dependencies are found where $ORIGIN leads") {
  const Workshop workshop;
  SUBCASE("beside the library") {
    const auto dependency = workshop.Compile("libdep.so", DependencySource(1), Soname("libdep.so"));
    for (const std::string token : {"$ORIGIN", "${ORIGIN}", "/nowhere:$ORIGIN/.:relative"}) {
      const auto library = workshop.Compile("lib.so", kLibrarySource,
                                            Quoted(dependency) + " -Wl,-rpath," + Quoted(token));
      CHECK(NeedsAnchor(Candidate(library).elf.facts()));
      CHECK(Answer(library) == 101);
    }
  }
  SUBCASE("in a directory beside its own") {
    const auto dependency =
        workshop.Compile("lib/libdep.so", DependencySource(2), Soname("libdep.so"));
    const auto library = workshop.Compile("plugins/lib.so", kLibrarySource,
                                          Quoted(dependency) + " -Wl,-rpath,'$ORIGIN/../lib'");
    CHECK(Answer(library) == 102);
  }
  SUBCASE("a dependency without a SONAME") {
    workshop.Compile("libdep.so", DependencySource(3));
    const auto library = workshop.Compile("lib.so", kLibrarySource,
                                          "-L" + workshop.path() + " -ldep " + kOriginRunpath);
    CHECK(Answer(library) == 103);
  }
  SUBCASE("a dependency of a dependency, each by its own RUNPATH") {
    const auto second =
        workshop.Compile("b/libsecond.so", DependencySource(4), Soname("libsecond.so"));
    const auto first = workshop.Compile(
        "a/libfirst.so", "int first(void) { return 0; }\n",
        Soname("libfirst.so") + " " + Quoted(second) + " -Wl,-rpath,'$ORIGIN/../b'");
    const auto library =
        workshop.Compile("lib.so", kLibrarySource,
                         Quoted(first) + " " + Quoted(second) +
                             " -Wl,--enable-new-dtags,-rpath,'$ORIGIN/a',-rpath-link," +
                             Quoted(workshop / "b") + " -Wl,--no-copy-dt-needed-entries");
    std::filesystem::create_directories(workshop / "a");
    std::filesystem::copy_file(second, workshop / "a/libsecond.so");
    CHECK(Answer(library) == 104);
  }
  SUBCASE("a directory with a colon in its name") {
    const auto dependency =
        workshop.Compile("a:b/libdep.so", DependencySource(5), Soname("libdep.so"));
    const auto library =
        workshop.Compile("a:b/lib.so", kLibrarySource, Quoted(dependency) + " " + kOriginRunpath);
    CHECK(Answer(library) == 105);
  }
  CHECK_FALSE(IsLoaded("libdep.so"));
}

TEST_CASE("$ORIGIN is the directory of the path that was given, not of what a link leads to") {
  const Workshop workshop;
  const auto dependency =
      workshop.Compile("real/libdep.so", DependencySource(1), Soname("libdep.so"));
  const auto library =
      workshop.Compile("real/lib.so", kLibrarySource, Quoted(dependency) + " " + kOriginRunpath);
  workshop.Compile("link/libdep.so", DependencySource(7), Soname("libdep.so"));
  std::filesystem::create_symlink("../real/lib.so", workshop / "link/lib.so");
  CHECK(Answer(library) == 101);
  CHECK(Answer(workshop / "link/lib.so") == 107);
  void* plain = dlopen((workshop / "link/lib.so").c_str(), RTLD_NOW);
  REQUIRE(plain != nullptr);
  CHECK(reinterpret_cast<int (*)()>(dlsym(plain, "answer"))() == 107);
  dlclose(plain);
}

TEST_CASE("DT_RPATH also serves the dependencies of dependencies, DT_RUNPATH does not") {
  const Workshop workshop;
  const auto second = workshop.Compile("libsecond.so", DependencySource(1), Soname("libsecond.so"));
  const auto first = workshop.Compile(
      "libfirst.so", "int dependency(void);\nint first(void) { return dependency(); }\n",
      Soname("libfirst.so") + " " + Quoted(second));
  const std::string source = "int first(void);\nint answer(void) { return 100 + first(); }\n";
  const std::string flags = Quoted(first) + " -Wl,-rpath-link," + Quoted(workshop.path()) + " ";

  const auto library = workshop.Compile("lib.so", source, flags + kOriginRpath);
  CHECK(Candidate(library).elf.facts().rpath == "$ORIGIN");
  CHECK(Answer(library) == 101);
  CHECK(Resolution(library, Candidate(library).elf.facts()).missing().empty());

  workshop.Compile("lib.so", source, flags + kOriginRunpath);
  const std::string message = Refusal(library);
  CHECK(Contains(message, Quoted(first) + " needs 'libsecond.so', which is missing (looked in "));
  CHECK_FALSE(IsLoaded("libfirst.so"));
}

TEST_CASE("a search path without $ORIGIN needs no help") {
  const Workshop workshop;
  const auto dependency =
      workshop.Compile("sub/libdep.so", DependencySource(1), Soname("libdep.so"));
  SUBCASE("absolute") {
    const auto library = workshop.Compile(
        "lib.so", kLibrarySource, Quoted(dependency) + " -Wl,-rpath," + Quoted(workshop / "sub"));
    CHECK_FALSE(NeedsAnchor(Candidate(library).elf.facts()));
    CHECK(Answer(library) == 101);
  }
  SUBCASE("relative, to the current directory") {
    const auto library =
        workshop.Compile("lib.so", kLibrarySource, Quoted(dependency) + " -Wl,-rpath,sub");
    CHECK_FALSE(NeedsAnchor(Candidate(library).elf.facts()));
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(workshop.path());
    CHECK(Answer(library) == 101);
    CHECK(Resolution(library, Candidate(library).elf.facts()).missing().empty());
    std::filesystem::current_path(before);
    CHECK(Contains(Refusal(library), "'libdep.so'"));
  }
  SUBCASE("none") {
    const auto library = workshop.Compile("lib.so", "int answer(void) { return 1; }\n");
    CHECK_FALSE(NeedsAnchor(Candidate(library).elf.facts()));
    CHECK(Answer(library) == 1);
  }
}

TEST_CASE("child: a dependency in LD_LIBRARY_PATH" * doctest::skip()) {
  const std::string library = std::getenv("LIBRARY");
  CHECK(Resolution(library, Candidate(library).elf.facts()).missing().empty());
  CHECK(Answer(library) == std::atoi(std::getenv("EXPECTED")));
}

TEST_CASE("LD_LIBRARY_PATH goes before RUNPATH and after RPATH") {
  const Workshop workshop;
  const auto beside = workshop.Compile("libdep.so", DependencySource(1), Soname("libdep.so"));
  workshop.Compile("other/libdep.so", DependencySource(2), Soname("libdep.so"));
  const auto library = workshop / "lib.so";
  const auto run = [&](const std::string& flags, int expected) {
    workshop.Compile("lib.so", kLibrarySource, Quoted(beside) + " " + flags);
    return RunTestCase("child: a dependency in LD_LIBRARY_PATH",
                       "LD_LIBRARY_PATH=" + workshop.path() + "/other LIBRARY=" + library +
                           " EXPECTED=" + std::to_string(expected));
  };
  CHECK(run("", 102) == 0);
  CHECK(run(kOriginRunpath, 102) == 0);
  CHECK(run(kOriginRpath, 101) == 0);
}

TEST_CASE("a dependency may be named by a path") {
  const Workshop workshop;
  // The linker writes the SONAME of what it is given into DT_NEEDED.
  const auto link = [&](const std::string& needed, const std::string& flags) {
    const auto stand_in = workshop.Compile("stand-in.so", DependencySource(0), Soname(needed));
    const auto library = workshop.Compile("lib.so", kLibrarySource, Quoted(stand_in) + " " + flags);
    std::filesystem::remove(stand_in);
    return library;
  };
  workshop.Compile("sub/dep.so", DependencySource(1));
  SUBCASE("absolute") {
    const auto library = link(workshop / "sub/dep.so", "");
    CHECK_FALSE(NeedsAnchor(Candidate(library).elf.facts()));
    CHECK(Answer(library) == 101);
  }
  SUBCASE("relative") {
    const auto library = link("sub/dep.so", "");
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(workshop.path());
    CHECK(Answer(library) == 101);
    std::filesystem::current_path(before);
    CHECK(Contains(Refusal(library), "it needs 'sub/dep.so', which is missing"));
  }
  SUBCASE("from $ORIGIN") {
    const auto library = link("$ORIGIN/sub/dep.so", "");
    CHECK(NeedsAnchor(Candidate(library).elf.facts()));
    CHECK(Answer(library) == 101);
    CHECK(Resolution(library, Candidate(library).elf.facts()).missing().empty());
    std::filesystem::remove(workshop / "sub/dep.so");
    CHECK(Contains(Refusal(library), workshop / "sub/dep.so"));
  }
  SUBCASE("from $ORIGIN, with a SONAME and a search path beside it") {
    workshop.Compile("sub/dep.so", DependencySource(2), Soname("dep.so"));
    workshop.Compile("dep.so", DependencySource(3), Soname("dep.so"));
    const auto library = link("${ORIGIN}/sub/dep.so", kOriginRunpath);
    CHECK(Answer(library) == 102);
  }
}

TEST_CASE(
    "the error names a missing dependency, the object that needs it and the places searched") {
  const Workshop workshop;
  const auto dependency = workshop.Compile("libdep.so", DependencySource(1), Soname("libdep.so"));
  const auto library =
      workshop.Compile("lib.so", kLibrarySource, Quoted(dependency) + " " + kOriginRunpath);
  SUBCASE("absent") {
    std::filesystem::remove(dependency);
    const std::string message = Refusal(library);
    CHECK(
        Contains(message, "cannot load '" + library + "': it needs 'libdep.so', which is missing"));
    CHECK(Contains(message, "looked in "));
    CHECK(Contains(message, " " + workshop.path() + ", "));
    CHECK_FALSE(Contains(message, "/proc/"));
    const Resolution resolution(library, Candidate(library).elf.facts());
    REQUIRE(resolution.missing().size() == 1);
    CHECK(resolution.missing()[0].name == "libdep.so");
    CHECK(resolution.missing()[0].needed_by == library);
  }
  SUBCASE("half a file") {
    const std::string bytes = ReadText(dependency);
    WriteText(dependency, bytes.substr(0, bytes.size() / 2));
    const Resolution resolution(library, Candidate(library).elf.facts());
    REQUIRE(resolution.missing().size() == 1);
    CHECK(Contains(resolution.missing()[0].defect, dependency));
    CHECK_THROWS_AS(resolution.ThrowIfMissing(), Error);
  }
  SUBCASE("not a shared object") {
    WriteText(dependency, "INPUT(-lelsewhere)\n");
    CHECK(Contains(Refusal(library), "not an ELF file"));
  }
}

TEST_CASE("the image and its dependencies go when it is closed") {
  const Workshop workshop;
  const auto dependency = workshop.Compile("libdep.so", DependencySource(1), Soname("libdep.so"));
  const auto path =
      workshop.Compile("lib.so", kLibrarySource, Quoted(dependency) + " " + kOriginRunpath);
  const size_t before = LoadedObjects::List().all().size();
  Loaded library(path);
  CHECK(LoadedObjects::List().all().size() == before + 2);
  CHECK(IsLoaded(library.name()));
  CHECK(IsLoaded("libdep.so"));
  library.Close();
  CHECK_FALSE(IsLoaded(library.name()));
  CHECK(LoadedObjects::List().all().size() == before);
}

TEST_CASE("the list shows the loaded objects, whatever was loaded in their place before") {
  const Workshop workshop;
  constexpr size_t kPlaces = 4;
  constexpr size_t kVariants = 2;
  const auto soname_of = [](size_t variant) { return "variant" + std::to_string(variant) + ".so"; };
  for (size_t variant = 0; variant < kVariants; ++variant) {
    workshop.Compile(soname_of(variant), DependencySource(1), Soname(soname_of(variant)));
  }
  struct Place {
    std::string path;
    std::string soname;
    void* handle = nullptr;
  };
  std::vector<Place> places;
  for (size_t i = 0; i < kPlaces; ++i)
    places.push_back({workshop / std::to_string(i), "", nullptr});
  const auto count = LoadedObjects::List().all().size();
  std::minstd_rand random(1);
  for (int step = 0; step < 500; ++step) {
    CAPTURE(step);
    Place& place = places[random() % kPlaces];
    if (place.handle != nullptr) {
      dlclose(std::exchange(place.handle, nullptr));
    } else {
      place.soname = soname_of(random() % kVariants);
      std::filesystem::remove(place.path);
      std::filesystem::copy_file(workshop / place.soname, place.path);
      place.handle = dlopen(place.path.c_str(), RTLD_NOW);
      REQUIRE(place.handle != nullptr);
    }
    if (random() % 3 == 0) continue;
    const LoadedObjects objects = LoadedObjects::List();
    size_t open = 0;
    for (const Place& each : places) {
      const auto* object = objects.Find(each.path);
      CHECK((object != nullptr) == (each.handle != nullptr));
      if (object == nullptr || each.handle == nullptr) continue;
      ++open;
      CHECK(object->soname == each.soname);
      CHECK(object->start == static_cast<link_map*>(each.handle)->l_addr);
    }
    CHECK(objects.all().size() == count + open);
  }
  for (const Place& place : places) {
    if (place.handle != nullptr) dlclose(place.handle);
  }
}

TEST_CASE("the list shows the loaded objects while other threads load and unload") {
  const Workshop workshop;
  constexpr int kThreads = 4;
  constexpr int kRounds = 200;
  std::vector<std::string> paths;
  for (int index = 0; index < kThreads; ++index) {
    const std::string name = "lib" + std::to_string(index) + ".so";
    paths.push_back(workshop.Compile(name, "int value;"));
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (const std::string& path : paths) {
    threads.emplace_back([&wrong, path] {
      for (int round = 0; round < kRounds; ++round) {
        void* handle = dlopen(path.c_str(), RTLD_NOW);
        const auto address = reinterpret_cast<uintptr_t>(dlsym(handle, "value"));
        {
          const LoadedObjects objects = LoadedObjects::List();
          const LoadedObject* object = objects.Find(path);
          if (object == nullptr || address < object->start || address >= object->end) ++wrong;
        }
        dlclose(handle);
        if (IsLoaded(path)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("library and dependencies are initialised once, the dependencies first") {
  const Workshop workshop;
  const auto dependency = workshop.Compile(
      "libdep.so",
      "int count;\n__attribute__((constructor)) static void start(void) { count += 10; }\n",
      Soname("libdep.so"));
  const auto path = workshop.Compile(
      "lib.so",
      "extern int count;\nstatic int seen;\n"
      "__attribute__((constructor)) static void start(void) { seen = count; count += 1; }\n"
      "int answer(void) { return seen * 100 + count; }\n",
      Quoted(dependency) + " " + kOriginRunpath);
  CHECK(Answer(path) == 10 * 100 + 11);
}

TEST_CASE("a dependency may need the library in turn") {
  const Workshop workshop;
  const std::string dependency_source =
      "extern int datum;\nint dependency(void) { return datum; }\n";
  const std::string library_source = kLibrarySource + "int datum = 5;\n";
  const auto first = workshop.Compile("libdep.so", dependency_source, Soname("libdep.so"));
  const auto path =
      workshop.Compile("libcircle.so", library_source,
                       Soname("libcircle.so") + " " + Quoted(first) + " " + kOriginRunpath);
  workshop.Compile("libdep.so", dependency_source,
                   Soname("libdep.so") + " " + Quoted(path) + " " + kOriginRunpath);
  const size_t before = LoadedObjects::List().all().size();
  const Loaded library(path);
  CHECK(library.Call("answer") == 105);
  // No second copy from the file.
  CHECK(LoadedObjects::List().all().size() == before + 2);
  CHECK(Resolution(path, library.elf().facts()).Undefined(library.elf()).empty());
}

TEST_CASE("the scope of the library is that of its dependencies") {
  const Workshop workshop;
  const auto dependency =
      workshop.Compile("libdep.so", "int scoped(void) { return 1; }\n", Soname("libdep.so"));
  const auto path = workshop.Compile("lib.so", "int answer(void) { return 1; }\n",
                                     Quoted(dependency) + " " + kOriginRunpath);
  // Not RTLD_DEFAULT, which would keep what it finds.
  void* program = dlopen(nullptr, RTLD_LAZY);
  const Loaded local(path, RTLD_NOW | RTLD_LOCAL);
  CHECK(dlsym(program, "scoped") == nullptr);
  const Loaded global(path, RTLD_NOW | RTLD_GLOBAL);
  CHECK(dlsym(program, "scoped") != nullptr);
  dlclose(program);
}

TEST_CASE("a dependency that was replaced together with the library") {
  const Workshop workshop;
  const auto make = [&](int value) {
    const auto dependency =
        workshop.Compile("libdep.so", DependencySource(value), Soname("libdep.so"));
    return workshop.Compile("lib.so", kLibrarySource, Quoted(dependency) + " " + kOriginRunpath);
  };
  const auto path = make(1);
  Loaded old(path);
  CHECK(old.Call("answer") == 101);
  CHECK(ReplacedFiles({workshop / "libdep.so"}).empty());
  make(2);
  const std::vector<std::string> replaced{workshop / "libdep.so"};

  SUBCASE("is new once the old image is closed") {
    old.Close();
    const Loaded now(path);
    CHECK(now.Call("answer") == 102);
    CHECK(ReplacedFiles({workshop / "libdep.so"}).empty());
  }
  SUBCASE("stays the old one, and is reported, while the old image is open") {
    CHECK(ReplacedFiles({workshop / "libdep.so"}) == replaced);
    const Loaded beside(path);
    CHECK(beside.Call("answer") == 101);
  }
  SUBCASE("stays the old one while another library needs it") {
    std::filesystem::copy_file(path, workshop / "another.so");
    const Loaded another(workshop / "another.so");
    old.Close();
    const Loaded now(path);
    CHECK(now.Call("answer") == 101);
    CHECK(ReplacedFiles({workshop / "libdep.so"}) == replaced);
  }
  SUBCASE("is reported too if its file was only moved away") {
    std::filesystem::rename(workshop / "libdep.so", workshop / "libdep.so.old");
    CHECK(ReplacedFiles({workshop / "libdep.so"}) == replaced);
  }
}

TEST_CASE("what only the image that will be closed needs does not count as loaded") {
  const Workshop workshop;
  const auto dependency = workshop.Compile("libdep.so", DependencySource(1), Soname("libdep.so"));
  const auto path =
      workshop.Compile("lib.so", kLibrarySource, Quoted(dependency) + " " + kOriginRunpath);
  const Loaded old(path);
  std::filesystem::remove(dependency);
  const auto& facts = old.elf().facts();
  CHECK(Resolution(path, facts).missing().empty());
  CHECK(Resolution(path, facts, Closing{{old.name()}}).missing().size() == 1);

  const Loaded another(path);
  CHECK(Resolution(path, facts, Closing{{old.name()}}).missing().empty());
}

TEST_CASE("what the program needs is known, however often other objects come and go") {
  const auto of_program = [] {
    const LoadedObjects objects = LoadedObjects::List();
    return std::count_if(objects.all().begin(), objects.all().end(),
                         [&](const auto& object) { return objects.IsOfProgram(*object); });
  };
  const auto before = of_program();
  CHECK(before > 1);
  // The list describes every object anew after as many have gone as it had.
  for (size_t rounds = 2 * LoadedObjects::List().all().size(); rounds > 0; --rounds) {
    CHECK(StubObject({}, RTLD_LAZY).loaded());
  }
  CHECK(of_program() == before);
  const StubObject stub({}, RTLD_LAZY);
  const LoadedObjects objects = LoadedObjects::List();
  CHECK_FALSE(objects.IsOfProgram(*objects.Find(stub.loader_name())));
}

TEST_CASE("the symbols of dependencies are found without loading anything") {
  const Workshop workshop;
  const auto dependency = workshop.Compile("libdep.so", DependencySource(1), Soname("libdep.so"));
  const auto path =
      workshop.Compile("lib.so", kLibrarySource, Quoted(dependency) + " -lm " + kOriginRunpath);
  const Candidate candidate(path);
  const Resolution resolution(path, candidate.elf.facts());
  CHECK(resolution.Provides("dependency"));
  CHECK(resolution.Provides("cos"));
  CHECK(resolution.Provides("malloc"));
  CHECK_FALSE(resolution.Provides("answer"));
  CHECK_FALSE(resolution.Provides("soswap_nobody_has_this"));
  CHECK_FALSE(IsLoaded("libdep.so"));
}

TEST_CASE("symbols that no object defines are listed") {
  const Workshop workshop;
  SUBCASE("of the library, except weak ones") {
    const auto path = workshop.Compile(
        "lib.so",
        "int absent(void);\n__attribute__((weak)) int may_be_absent(void);\nint malloc(unsigned "
        "long);\n"
        "int answer(void) { return absent() + malloc(1) + (may_be_absent ? 1 : 0); }\n",
        "-fno-builtin -w");
    const Candidate candidate(path);
    const auto undefined = Resolution(path, candidate.elf.facts()).Undefined(candidate.elf);
    REQUIRE(undefined.size() == 1);
    CHECK(undefined[0].name == "absent");
    CHECK(undefined[0].version.empty());
    CHECK(undefined[0].needed_by == path);
  }
  SUBCASE("of a dependency that is not loaded") {
    const auto dependency = workshop.Compile(
        "libdep.so", "int absent(void);\nint dependency(void) { return absent(); }\n",
        Soname("libdep.so"));
    const auto path =
        workshop.Compile("lib.so", kLibrarySource,
                         Quoted(dependency) + " -Wl,--allow-shlib-undefined " + kOriginRunpath);
    const Candidate candidate(path);
    const auto undefined = Resolution(path, candidate.elf.facts()).Undefined(candidate.elf);
    REQUIRE(undefined.size() == 1);
    CHECK(undefined[0].name == "absent");
    CHECK(undefined[0].needed_by == dependency);
  }
  SUBCASE("in the imported version") {
    const auto make = [&](const std::string& version) {
      WriteText(workshop / "map", version + " { global: dependency; local: *; };\n");
      return workshop.Compile(
          "libdep.so", DependencySource(1),
          Soname("libdep.so") + " -Wl,--version-script," + Quoted(workshop / "map"));
    };
    const auto path =
        workshop.Compile("lib.so", kLibrarySource, Quoted(make("DEP_1.0")) + " " + kOriginRunpath);
    const Candidate candidate(path);
    const auto undefined = [&] {
      return Resolution(path, candidate.elf.facts()).Undefined(candidate.elf);
    };
    CHECK(undefined().empty());
    make("DEP_2.0");
    REQUIRE(undefined().size() == 1);
    CHECK(undefined()[0].version == "DEP_1.0");
    // Without any version it suits every request.
    workshop.Compile("libdep.so", DependencySource(1), Soname("libdep.so"));
    CHECK(undefined().empty());
  }
  SUBCASE("defined only by the image that will be closed, even in the global scope") {
    const auto old_path = workshop.Compile(
        "old.so", "int answer(void) { return 1; }\nint old_only(void) { return 1; }\n");
    Loaded old(old_path, RTLD_NOW | RTLD_GLOBAL);
    const auto path = workshop.Compile(
        "new.so", "int old_only(void);\nint answer(void) { return old_only(); }\n");
    const Candidate candidate(path);
    CHECK(Resolution(path, candidate.elf.facts()).Undefined(candidate.elf).empty());
    CHECK(Resolution(path, candidate.elf.facts(), Closing{{old.name()}})
              .Undefined(candidate.elf)
              .size() == 1);
    old.Close();
    CHECK_FALSE(IsLoaded(old.name()));
  }
}
