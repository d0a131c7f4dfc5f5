#include <dlfcn.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/loader_name.h"
#include "core/elf/needed_name.h"
#include "core/image/image.h"
#include "core/image/needed_by.h"
#include "core/loader/loaded_objects.h"
#include "core/loader/provided_name.h"
#include "core/resolve/inspected_snapshot.h"
#include "core/resolve/resolution.h"
#include "elf_bytes.h"
#include "small_libraries.h"

using soswap::CopyPlan;
using soswap::ElfFile;
using soswap::Error;
using soswap::Fault;
using soswap::Image;
using soswap::ImageOrigin;
using soswap::InspectedSnapshot;
using soswap::IsProvidedName;
using soswap::LoadedObjects;
using soswap::ObjectsThatNeed;
using soswap::Provided;
using soswap::ProvidedName;
using soswap::RenameNeeded;
using soswap::Resolution;
using soswap::test::ElfBytes;
using soswap::test::Judge;
using soswap::test::Quoted;
using soswap::test::Run;
using soswap::test::Workshop;
using soswap::test::WriteText;

namespace {

using Taken = std::shared_ptr<InspectedSnapshot>;
using Opened = std::shared_ptr<Image>;

struct Needs {
  std::string name;
  Taken by;
};

Taken Take(const std::string& path, const std::vector<Needs>& needs = {},
           const CopyPlan& plan = {}) {
  std::vector<Provided> provided;
  for (const Needs& each : needs) provided.push_back({each.name, each.by, nullptr});
  return TakeSnapshot(path, path, plan, provided);
}

Opened Open(const Taken& taken, const std::vector<Opened>& providers = {}, int mode = RTLD_NOW) {
  ImageOrigin origin;
  origin.path = taken->path;
  origin.unload = taken->unload;
  std::vector<std::string> names;
  for (const Opened& each : providers) names.push_back(each->loader_name());
  return Image::Open(std::move(origin), taken, mode, std::move(names));
}

int Call(const Opened& image, const char* symbol = "answer") {
  return reinterpret_cast<int (*)()>(image->Symbol(symbol).value())();
}

size_t Descriptors() {
  const std::filesystem::directory_iterator entries("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(entries), end(entries)));
}

size_t Objects() { return LoadedObjects::List().all().size(); }

template <typename Body>
std::optional<Error> ErrorOf(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const std::string kCoreSource = R"(
  int core_version(void) { return VERSION; }
  int both(void) { return VERSION; }
  int core_data = VERSION;
  __thread int core_local = VERSION;
)";

// Four digits: of a function, of one that another dependency has too, of a variable, of a
// thread-local variable.
const std::string kPluginSource = R"(
  int core_version(void);
  int both(void);
  extern int core_data;
  extern __thread int core_local;
  int answer(void) { return ((core_version() * 10 + both()) * 10 + core_data) * 10 + core_local; }
)";

std::string CompileCore(const Workshop& workshop, int version, const std::string& flags = "") {
  return workshop.Compile("v" + std::to_string(version) + "/libcore.so", kCoreSource,
                          "-DVERSION=" + std::to_string(version) + " " + flags);
}

const std::string kSoname = "-Wl,-soname,libcore.so";

// With another dependency, which defines both() too but comes after the core.
std::string CompilePlugin(const Workshop& workshop, const std::string& core,
                          const std::string& flags = "") {
  const auto other = workshop.Compile("libother.so", "int both(void) { return 9; }");
  return workshop.Compile("plugin.so", kPluginSource,
                          Quoted(core) + " " + Quoted(other) + " " + flags);
}

}  // namespace

TEST_CASE("a library is bound to the image that it is given, whatever else has the name") {
  const Workshop workshop;
  int mode = RTLD_NOW | RTLD_LOCAL;
  int times = 20;
  SUBCASE("100 times to and fro") { times = 100; }
  SUBCASE("binding lazily") { mode = RTLD_LAZY; }
#ifdef RTLD_DEEPBIND
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  SUBCASE("with its own symbols first") { mode = RTLD_NOW | RTLD_DEEPBIND; }
#endif
#endif
  const auto core_1 = CompileCore(workshop, 1, kSoname);
  const auto core_2 = CompileCore(workshop, 2, kSoname);
  const auto plugin = CompilePlugin(workshop, core_1);
  const size_t objects = Objects();
  {
    const std::vector<Taken> cores{Take(core_1), Take(core_2)};
    const std::vector<Opened> images{Open(cores[0]), Open(cores[1])};
    void* older = dlopen(core_1.c_str(), RTLD_NOW | RTLD_LOCAL);  // the file itself
    REQUIRE(older != nullptr);
    const size_t between = Objects();
    const size_t descriptors = Descriptors();
    for (int turn = 0; turn < times; ++turn) {
      const size_t which = turn % 3 == 0 ? 1 : turn % 2;
      const auto taken = Take(plugin, {{"libcore.so", cores[which]}});
      REQUIRE(taken->provided.size() == 1);
      const auto image = Open(taken, {images[which]}, mode);
      const int digits = which == 0 ? 1111 : 2222;
      REQUIRE(Call(image) == digits);
      REQUIRE(image->Close().empty());
      REQUIRE(Objects() == between);
    }
    CHECK(Descriptors() <= descriptors + 4);  // memory that is kept for the next copies
    dlclose(older);
    CHECK(images[0]->Close().empty());
    CHECK(images[1]->Close().empty());
  }
  CHECK(Objects() == objects);
}

TEST_CASE("threads bind libraries to different images at the same time") {
  const Workshop workshop;
  const auto plugin = CompilePlugin(workshop, CompileCore(workshop, 1, kSoname));
  const std::vector<Taken> cores{Take(workshop / "v1/libcore.so"),
                                 Take(CompileCore(workshop, 2, kSoname))};
  const std::vector<Opened> images{Open(cores[0]), Open(cores[1])};
  const size_t objects = Objects();
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (size_t which = 0; which < 2; ++which) {
    threads.emplace_back([&, which] {
      for (int turn = 0; turn < 20; ++turn) {
        const auto image = Open(Take(plugin, {{"libcore.so", cores[which]}}), {images[which]});
        right += Call(image) == (which == 0 ? 1111 : 2222) ? 1 : 0;
        image->Close();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(right == 40);
  CHECK(Objects() == objects);
}

TEST_CASE("a library in the global scope is bound to the image that it is given") {
  const Workshop workshop;
  const auto core = Take(CompileCore(workshop, 2, kSoname));
  const auto core_image = Open(core);
  const auto taken =
      Take(CompilePlugin(workshop, CompileCore(workshop, 1, kSoname)), {{"libcore.so", core}});
  const auto image = Open(taken, {core_image}, RTLD_NOW | RTLD_GLOBAL);
  CHECK(Call(image) == 2222);
  {
    // Through RTLD_DEFAULT the loader would take this program for one that needs the plug-in.
    const soswap::LoaderHandle global(dlopen(nullptr, RTLD_LAZY));
    CHECK(dlsym(global.get(), "answer") != nullptr);
  }
  CHECK(image->Close().empty());
  CHECK(core_image->Close().empty());
}

TEST_CASE("a provided dependency may lack a SONAME, or be needed by its path") {
  const Workshop workshop;
  const auto core_1 = CompileCore(workshop, 1);
  const auto core_2 = Take(CompileCore(workshop, 2));
  std::string name;
  std::string plugin;
  SUBCASE("by its file name") {
    name = "libcore.so";
    plugin =
        workshop.Compile("plugin.so", kPluginSource, "-L" + Quoted(workshop / "v1") + " -lcore");
  }
  SUBCASE("by its path") {
    name = core_1;
    plugin = CompilePlugin(workshop, core_1);
  }
  const auto core_image = Open(core_2);
  const auto taken = Take(plugin, {{name, core_2}});
  const auto needed = NeededInFile(*taken);
  CHECK(std::count(needed.begin(), needed.end(), name) == 1);
  const auto image = Open(taken, {core_image});
  CHECK(Call(image) == 2222);
}

TEST_CASE("a provided dependency that $ORIGIN leads to is not searched for") {
  const Workshop workshop;
  const auto core = CompileCore(workshop, 1, "-Wl,-soname,'$ORIGIN/v1/libcore.so'");
  const auto plugin = CompilePlugin(workshop, core, "-Wl,-rpath,'$ORIGIN'");
  const auto provider = Take(CompileCore(workshop, 2));
  CopyPlan plan;
  plan.edits.push_back(soswap::ShortenNeededFromOrigin);
  const auto taken = Take(plugin, {{"$ORIGIN/v1/libcore.so", provider}}, plan);
  REQUIRE(taken->provided.size() == 1);
  std::filesystem::remove_all(workshop / "v1");
  const auto core_image = Open(provider);
  CHECK(Call(Open(taken, {core_image})) == 2222);
}

TEST_CASE("versions of symbols go with the name") {
  const Workshop workshop;
  WriteText(workshop / "one", "CORE_1 { global: core_version; both; core_data; core_local; };\n");
  WriteText(workshop / "two", "CORE_2 { global: core_version; both; core_data; core_local; };\n");
  const auto with = [&](const std::string& map) {
    return kSoname + " -Wl,--version-script," + Quoted(workshop / map);
  };
  const auto plugin = CompilePlugin(workshop, CompileCore(workshop, 1, with("one")));
  std::string flags;
  bool is_fit = true;
  SUBCASE("of which the provider has the same") { flags = with("one"); }
  SUBCASE("of which the provider has none at all") { flags = kSoname; }
  SUBCASE("of which the provider has others") {
    flags = with("two");
    is_fit = false;
  }
  const auto core = Take(CompileCore(workshop, 2, flags));
  const auto core_image = Open(core);
  const auto taken = Take(plugin, {{"libcore.so", core}});
  const auto undefined =
      Resolution(taken->path, taken->elf.facts(), {}, taken->provided).Undefined(taken->elf);
  CHECK(undefined.empty() == is_fit);
  if (is_fit) {
    CHECK(Call(Open(taken, {core_image})) == 2222);
    return;
  }
  const auto error = ErrorOf([&] { Open(taken, {core_image}); });
  REQUIRE(error);
  CHECK(error->fault() == Fault::kLoader);
  CHECK(Contains(error->what(), "CORE_1"));
  CHECK(core_image->Close().empty());
}

TEST_CASE("a C++ exception of a provided dependency is caught in the library") {
  const Workshop workshop;
  WriteText(workshop / "core.h",
            "struct Failure { virtual ~Failure(); int code; };\nvoid fail(int code);\n");
  WriteText(
      workshop / "core.cc",
      "#include \"core.h\"\nFailure::~Failure() {}\n"
      "void fail(int code) { Failure failure; failure.code = code + VERSION; throw failure; }");
  WriteText(workshop / "plugin.cc",
            "#include \"core.h\"\n#include <typeinfo>\n"
            "extern \"C\" int answer() { try { fail(40); } catch (const Failure& failure) {"
            " return typeid(failure) == typeid(Failure) ? failure.code : -1; } return 0; }");
  const auto compile = [&](const std::string& source, const std::string& output,
                           const std::string& flags) {
    const char* compiler = std::getenv("CXX");
    REQUIRE(Run(std::string(compiler != nullptr ? compiler : "c++") + " -shared -fPIC -o " +
                Quoted(workshop / output) + " " + Quoted(workshop / source) + " " + flags) == 0);
    return workshop / output;
  };
  compile("core.cc", "libcore.so", "-DVERSION=1 " + kSoname);
  const auto plugin = compile("plugin.cc", "plugin.so", Quoted(workshop / "libcore.so"));
  const auto core = Take(compile("core.cc", "new.so", "-DVERSION=2 " + kSoname));
  const auto core_image = Open(core);
  const auto image = Open(Take(plugin, {{"libcore.so", core}}), {core_image});
  CHECK(Call(image) == 42);
  CHECK(image->Close().empty());
  CHECK(core_image->Close().empty());
}

TEST_CASE("a chain and a diamond of provided dependencies") {
  const Workshop workshop;
  const auto source = [](const std::string& name, const std::string& body) {
    return "int base(void);\nint left(void);\nint right(void);\nint " + name + "(void) { return " +
           body + "; }\n";
  };
  const auto compile = [&](const std::string& name, const std::string& body,
                           const std::string& flags) {
    return workshop.Compile(
        "lib" + name + ".so", source(name, body),
        flags + " -Wl,-soname,lib" + name + ".so -Wl,-rpath-link," + Quoted(workshop.path()));
  };
  const auto at = [&](const std::string& name) {
    return Quoted(workshop / ("lib" + name + ".so"));
  };
  const auto base = compile("base", "1", "");
  const auto left = compile("left", "10 + base()", at("base"));
  const auto right = compile("right", "100 + base()", at("base"));
  const auto top = compile("answer", "left() + right() + 1000 * base()",
                           at("left") + " " + at("right") + " " + at("base"));
  const size_t objects = Objects();
  std::vector<Opened> open;
  for (const int version : {2, 3}) {
    const auto base_taken = Take(compile("base", std::to_string(version), ""));
    open.push_back(Open(base_taken));
    const auto base_image = open.back();
    const auto left_taken = Take(left, {{"libbase.so", base_taken}});
    open.push_back(Open(left_taken, {base_image}));
    const auto left_image = open.back();
    const auto right_taken = Take(right, {{"libbase.so", base_taken}});
    open.push_back(Open(right_taken, {base_image}));
    const auto right_image = open.back();
    const std::vector<Needs> needs{
        {"libright.so", right_taken}, {"libbase.so", base_taken}, {"libleft.so", left_taken}};
    const auto taken = Take(top, needs);
    REQUIRE(taken->provided.size() == 3);
    CHECK(taken->provided[0].name == "libleft.so");  // the order of DT_NEEDED
    CHECK(taken->provided[1].name == "libright.so");
    const Resolution resolution(taken->path, taken->elf.facts(), {}, taken->provided);
    CHECK(resolution.missing().empty());
    CHECK(resolution.Undefined(taken->elf).empty());
    open.push_back(Open(taken, {left_image, right_image, base_image}));
    CHECK(Call(open.back()) == 110 + 2 * version + 1000 * version);
    auto needing = ObjectsThatNeed(base_image->loader_name());
    std::sort(needing.begin(), needing.end());
    CHECK(needing == std::vector<std::string>{top, left, right});
  }
  CHECK(Call(open[3]) == 110 + 4 + 2000);
  while (!open.empty()) {
    CHECK(open.back()->Close().empty());
    open.pop_back();
  }
  CHECK(Objects() == objects);
}

TEST_CASE(
    "the loader keeps a provider that is closed, and lets it go with the last that needs it") {
  const Workshop workshop;
  const auto core = Take(CompileCore(workshop, 2, kSoname));
  const auto plugin = CompilePlugin(workshop, CompileCore(workshop, 1, kSoname));
  const size_t objects = Objects();
  const auto core_image = Open(core);
  const auto image = Open(Take(plugin, {{"libcore.so", core}}), {core_image}, RTLD_LAZY);
  const auto reasons = core_image->Close();
  REQUIRE(reasons.size() == 1);
  CHECK(reasons[0].code == "needed-by");
  CHECK(Contains(reasons[0].detail, plugin));
  CHECK_FALSE(Contains(reasons[0].detail, "/proc/"));
  CHECK(Call(image) == 2222);
  CHECK(image->Close().empty());
  CHECK(Objects() == objects);
}

TEST_CASE("an image is loaded again with the providers that it had, or with new ones") {
  const Workshop workshop;
  const auto core_2 = Take(CompileCore(workshop, 2, kSoname));
  const auto core_3 = Take(CompileCore(workshop, 3, kSoname));
  const auto taken =
      Take(CompilePlugin(workshop, CompileCore(workshop, 1, kSoname)), {{"libcore.so", core_2}});
  const auto image_2 = Open(core_2);
  const auto image_3 = Open(core_3);
  const auto image = Open(taken, {image_2});
  REQUIRE(image->Close().empty());
  CHECK(image->providers() == std::vector<std::string>{image_2->loader_name()});
  auto again = Image::OpenAgain(*image, taken, image->providers(), false);
  CHECK(Call(again) == 2222);
  REQUIRE(again->Close().empty());
  again = Image::OpenAgain(*again, taken, {image_3->loader_name()}, false);
  CHECK(Call(again) == 3333);

  SUBCASE("while it is still mapped, it is taken as it is") {
    LoadedObjects::List();
    void* held = dlopen(again->loader_name().c_str(), RTLD_NOW | RTLD_NOLOAD);
    REQUIRE(held != nullptr);
    CHECK_FALSE(again->Close().empty());
    const std::vector<std::string> others = {image_2->loader_name()};
    const auto error = ErrorOf([&] { Image::OpenAgain(*again, taken, others, false); });
    REQUIRE(error);
    CHECK(error->fault() == Fault::kStillLoaded);
    const auto same = Image::OpenAgain(*again, taken, again->providers(), true);
    CHECK(Call(same) == 3333);
    dlclose(held);
    CHECK(same->Close().empty());
  }
  SUBCASE("but not once they are gone") {
    REQUIRE(again->Close().empty());
    REQUIRE(image_3->Close().empty());
    const auto error = ErrorOf([&] { Image::OpenAgain(*again, taken, again->providers(), false); });
    REQUIRE(error);
    CHECK(error->fault() == Fault::kLoader);
    CHECK(error->subject() == taken->path);
  }
}

TEST_CASE("a copy is the same as its file again with the names that it has") {
  const Workshop workshop;
  const auto core = Take(CompileCore(workshop, 2, kSoname));
  const auto plugin = CompilePlugin(workshop, CompileCore(workshop, 1, kSoname));
  const auto taken = Take(plugin, {{"libcore.so", core}});
  CHECK(StillInFile(*taken, plugin, {}));
  workshop.Compile("plugin.so", kPluginSource + "int more;",
                   Quoted(workshop / "v1/libcore.so") + " " + Quoted(workshop / "libother.so"));
  CHECK_FALSE(StillInFile(*taken, plugin, {}));
}

TEST_CASE("what a provider and its dependencies define is provided, nothing of it is searched") {
  const Workshop workshop;
  const auto below =
      workshop.Compile("libbelow.so", "int below(void) { return 1; }", "-Wl,-soname,libbelow.so");
  const auto core = Take(
      workshop.Compile("libcore.so", "int below(void);\nint core_version(void) { return below(); }",
                       kSoname + " " + Quoted(below) + " -Wl,-rpath,'$ORIGIN'"));
  const auto plugin = workshop.Compile(
      "plugin.so",
      "int core_version(void);\nint below(void);\nint absent(void);\n"
      "int answer(void) { return core_version() + below() + absent(); }",
      Quoted(workshop / "libcore.so") + " -Wl,-rpath-link," + Quoted(workshop.path()));
  std::filesystem::remove(workshop / "libcore.so");
  const auto taken = Take(plugin, {{"libcore.so", core}, {"libnobody-needs.so", core}});
  REQUIRE(taken->provided.size() == 1);
  const Resolution resolution(plugin, taken->elf.facts(), {}, taken->provided);
  CHECK(resolution.missing().empty());
  CHECK(resolution.Provides("below"));
  CHECK(resolution.Provides("core_version"));
  CHECK_FALSE(resolution.Provides("absent"));
  const auto undefined = resolution.Undefined(taken->elf);
  REQUIRE(undefined.size() == 1);
  CHECK(undefined[0].name == "absent");
  CHECK(std::none_of(resolution.found().begin(), resolution.found().end(), [](const auto& each) {
    return IsProvidedName(each.name) || each.name == "libcore.so";
  }));
  const auto plain = Take(plugin);
  CHECK(Resolution(plugin, plain->elf.facts()).missing().size() == 1);
}

TEST_CASE("a name that shares its bytes is renamed elsewhere, or refused") {
  const Workshop workshop;
  const auto core = workshop.Compile("libcore.so", "int core_version(void) { return 2; }", kSoname);
  const std::string source =
      "int core_version(void);\nint answer(void) { return core_version(); }\n";
  const std::string flags = "-fuse-ld=bfd " + Quoted(core);
  const auto provider = Take(core);
  const auto provider_image = Open(provider);
  SUBCASE("with a longer SONAME") {
    const auto plugin = workshop.Compile("plugin.so", source, flags + " -Wl,-soname,my-libcore.so");
    const auto error = ErrorOf([&] { Take(plugin, {{"libcore.so", provider}}); });
    REQUIRE(error);
    CHECK(error->fault() == Fault::kSharedName);
    CHECK(error->subject() == plugin);
    CHECK(Contains(error->what(), "'libcore.so'"));
    CHECK(Contains(error->what(), "-Wl,-soname"));

    // A symbol without use leaves room.
    ElfBytes bytes(
        workshop.Compile("roomy.so", source + "extern int an_import_of_many_letters;",
                         flags + " -Wl,-soname,my-libcore.so -Wl,-rpath,/nowhere/at/all"));
    bytes.RemoveDynamic(DT_RUNPATH);
    const ElfFile file = ElfFile::Parse(bytes.span(), "roomy.so");
    RenameNeeded(file, bytes.editable(), "libcore.so",
                 "\x01"
                 "234567890");
    CHECK(Judge(bytes).reason == "");
    const ElfFile edited = ElfFile::Parse(bytes.span(), "roomy.so");
    CHECK(edited.facts().soname == "my-libcore.so");
    CHECK(edited.facts().needed.front() ==
          "\x01"
          "234567890");
    bytes.Save(workshop / "roomy.so");
    const auto taken = Take(workshop / "roomy.so", {{"\x01"
                                                     "234567890",
                                                     provider}});
    CHECK(Call(Open(taken, {provider_image})) == 2);
  }
  SUBCASE("with the end of it as the name of a symbol") {
    const auto plugin = workshop.Compile("plugin.so", source + "int so(void) { return 1; }", flags);
    const auto error = ErrorOf([&] { Take(plugin, {{"libcore.so", provider}}); });
    REQUIRE(error);
    CHECK(error->fault() == Fault::kSharedName);
  }
  SUBCASE("with the end of another needed name, which is provided too") {
    const auto longer = workshop.Compile("my-libcore.so", "int longer(void) { return 4; }",
                                         "-Wl,-soname,my-libcore.so");
    const auto plugin = workshop.Compile("plugin.so",
                                         "int core_version(void);\nint longer(void);\n"
                                         "int answer(void) { return core_version() + longer(); }\n",
                                         flags + " " + Quoted(longer));
    const auto longer_taken = Take(longer);
    const auto longer_image = Open(longer_taken);
    const auto error = ErrorOf([&] {
      Take(plugin, {{"libcore.so", provider}, {"my-libcore.so", longer_taken}});
    });
    REQUIRE(error);
    CHECK(error->fault() == Fault::kSharedName);
  }
  SUBCASE("twice in DT_NEEDED") {
    ElfBytes bytes(workshop.Compile("plugin.so", source, flags + " -lm"));
    const auto needed = bytes.Dynamic(DT_NEEDED);
    bytes.SetDynamic(DT_NEEDED, needed);
    const auto second = bytes.DynamicOf(DT_NEEDED) + sizeof(Elf64_Dyn);
    REQUIRE(bytes.Get<Elf64_Dyn>(second).d_tag == DT_NEEDED);
    bytes.Edit<Elf64_Dyn>(second, [&](Elf64_Dyn& entry) { entry.d_un.d_val = needed; });
    bytes.Save(workshop / "plugin.so");
    const auto taken = Take(workshop / "plugin.so", {{"libcore.so", provider}});
    CHECK(taken->provided.size() == 1);
    CHECK(Call(Open(taken, {provider_image})) == 2);
  }
}

TEST_CASE("a renaming never leaves the copy, and wants a name of the same length") {
  const Workshop workshop;
  const auto core = workshop.Compile("libcore.so", "int core_version(void) { return 2; }", kSoname);
  ElfBytes bytes(workshop.Compile("plugin.so", "int answer(void) { return 1; }", Quoted(core)));
  const ElfFile file = ElfFile::Parse(bytes.span(), "plugin.so");
  const auto start = bytes.editable().first(64);
  CHECK_THROWS_AS(RenameNeeded(file, start, "libcore.so", "libcore.2."), std::out_of_range);
  CHECK_THROWS_AS(RenameNeeded(file, bytes.editable(), "libcore.so", "x"), std::invalid_argument);
  CHECK_NOTHROW(RenameNeeded(file, start, "libabsent", "libpresen"));
}

TEST_CASE("a provided name is taken once, and free again afterwards") {
  std::vector<std::unique_ptr<ProvidedName>> names;
  const auto take = [&] { names.push_back(std::make_unique<ProvidedName>(1, "/lib.so")); };
  for (int i = 0; i < 31; ++i) take();
  std::vector<std::string> texts;
  for (const auto& name : names) {
    CHECK(IsProvidedName(name->text()));
    texts.push_back(name->text());
  }
  std::sort(texts.begin(), texts.end());
  CHECK(std::adjacent_find(texts.begin(), texts.end()) == texts.end());
  const auto error = ErrorOf(take);
  REQUIRE(error);
  CHECK(error->fault() == Fault::kSystem);
  names.erase(names.begin() + 7);
  CHECK_NOTHROW(take());
  const ProvidedName longer(300, "/lib.so");
  CHECK(longer.text().size() == 300);
  CHECK_FALSE(IsProvidedName("libcore.so"));
  CHECK_FALSE(IsProvidedName(""));
}
