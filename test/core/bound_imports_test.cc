#include "core/bind/bound_imports.h"

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/copy/copy_plan.h"
#include "core/image/image.h"
#include "core/resolve/inspected_snapshot.h"
#include "elf_bytes.h"

using soswap::BindImports;
using soswap::BoundImports;
using soswap::CopyPlan;
using soswap::ElfFile;
using soswap::Image;
using soswap::ImageOrigin;
using soswap::InspectedSnapshot;
using soswap::StillInFile;
using soswap::TakeSnapshot;
using soswap::test::ElfBytes;
using soswap::test::Judge;
using soswap::test::ReadText;
using soswap::test::Workshop;

namespace {

int calls = 0;

// What the libraries below import as getpid(2) and as sin(3).
int OurGetpid() {
  ++calls;
  return -7;
}
double OurSin(double /*angle*/) { return 12.5; }
int Numbered() { return 3; }

template <typename Function>
uintptr_t AddressOf(Function* function) {
  return reinterpret_cast<uintptr_t>(function);
}

const BoundImports& Ours() {
  static const BoundImports ours({{"getpid", AddressOf(OurGetpid)}, {"sin", AddressOf(OurSin)}});
  return ours;
}

CopyPlan Binding(const BoundImports& imports) {
  CopyPlan plan;
  plan.extent = soswap::Snapshot::Extent::kWhole;
  plan.edits.push_back(BindImports(imports));
  return plan;
}

std::shared_ptr<Image> Load(std::shared_ptr<InspectedSnapshot> taken, int mode) {
  ImageOrigin origin;
  origin.path = taken->path;
  origin.unload = taken->unload;
  return Image::Open(std::move(origin), std::move(taken), mode);
}

std::shared_ptr<Image> LoadBound(const std::string& path, int mode,
                                 const BoundImports& imports = Ours()) {
  return Load(TakeSnapshot(path, path, Binding(imports)), mode);
}

int Call(const Image& image, const char* name) {
  return reinterpret_cast<int (*)()>(image.Symbol(name).value())();
}

// Calls directly, from a table in data, from one that is read-only after relocation, and through an
// address that is taken at run time.
const std::string kSource = R"(
  extern int getpid(void);
  extern double sin(double);
  typedef int (*function)(void);
  function table[] = {getpid, getpid};
  static function const fixed[] = {getpid};
  int direct(void) { return getpid(); }
  int by_table(void) { return table[1](); }
  int by_fixed(void) { return fixed[0](); }
  int by_address(void) { function volatile f = getpid; return f(); }
  int is_equal(void) { function volatile f = getpid; return f == table[0] && f == fixed[0]; }
  double volatile angle = 1.0;
  int halves(void) { return (int)(sin(angle) * 2); }
)";

void CheckAllWays(const Image& image) {
  for (const char* way : {"direct", "by_table", "by_fixed", "by_address"}) {
    INFO(way);
    const int before = calls;
    CHECK(Call(image, way) == -7);
    CHECK(Call(image, way) == -7);
    CHECK(calls == before + 2);
  }
  CHECK(Call(image, "is_equal") == 1);
  CHECK(Call(image, "halves") == 25);
}

bool LinkerHas(const std::string& flag) {
  const char* compiler = std::getenv("CC");
  return soswap::test::Run(std::string(compiler != nullptr ? compiler : "cc") +
                           " -Wl,--help 2>/dev/null | grep -q -- '" + flag + "'") == 0;
}

}  // namespace

TEST_CASE("bound imports: the loader of this process takes them") {
  CHECK(soswap::WhyImportsStayUnbound() == "");
}

TEST_CASE("bound imports: every way to link and to bind") {
  const Workshop workshop;
  std::vector<std::string> ways{
      "-Wl,-z,now",     "-Wl,-z,lazy",           "-fno-plt -Wl,-z,now", "-fno-plt -Wl,-z,lazy",
      "-Wl,-z,norelro", "-Wl,--hash-style=sysv", "-Wl,-Bsymbolic",      "-O2"};
  if (LinkerHas("pack-relative-relocs")) ways.emplace_back("-Wl,-z,pack-relative-relocs");
  for (const std::string& way : ways) {
    INFO(way);
    const std::string path = workshop.Compile("lib.so", kSource, way + " -lm");
    for (const int mode : {RTLD_NOW, RTLD_LAZY}) {
      INFO(mode);
      const auto image = LoadBound(path, mode);
      CheckAllWays(*image);
      CHECK(image->Close().empty());
    }
  }
}

TEST_CASE("bound imports: the loader alone decides what the others are") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kSource, "-lm");
  const auto plain = Load(TakeSnapshot(path, path, {}), RTLD_NOW);
  CHECK(Call(*plain, "direct") == getpid());
  const BoundImports none({});
  CHECK(Call(*LoadBound(path, RTLD_NOW, none), "direct") == getpid());
}

TEST_CASE("bound imports: a library that has none of them is copied as it is") {
  const Workshop workshop;
  const auto path = workshop.Compile(
      "lib.so", "int abs(int); int getppid(void); int f(void) { return abs(getppid()); }");
  const auto taken = TakeSnapshot(path, path, Binding(Ours()));
  const auto bytes = taken->snapshot->bytes();
  CHECK(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()) == ReadText(path));
}

TEST_CASE("bound imports: definitions, variables and thread-locals of a name are left alone") {
  const Workshop workshop;
  for (const std::string source : {
           "int getpid(void) { return 5; } int direct(void) { return getpid(); }",
           "__attribute__((visibility(\"protected\"))) int getpid(void) { return 5; }"
           "int direct(void) { return getpid(); }",
           "__attribute__((visibility(\"hidden\"))) int getpid(void) { return 5; }"
           "int direct(void) { return getpid(); }",
       }) {
    INFO(source);
    const auto path = workshop.Compile("lib.so", source, "-Wl,-Bsymbolic");
    CHECK(Call(*LoadBound(path, RTLD_NOW), "direct") == 5);
  }
  const auto other = workshop.Compile("libvalues.so", "int variable = 6; __thread int local = 7;",
                                      "-Wl,-soname,libvalues.so");
  // -ftls-model keeps the reference one to a symbol of another object.
  const auto path = workshop.Compile(
      "lib.so",
      "extern int variable; extern __thread int local; int direct(void) { return variable * local; "
      "}",
      "'" + other + "' -Wl,-rpath," + workshop.path());
  const BoundImports wrong({{"variable", AddressOf(OurGetpid)}, {"local", AddressOf(OurGetpid)}});
  // The linker leaves both without a type if the library was not there when it linked.
  CHECK(Call(*LoadBound(path, RTLD_NOW, wrong), "direct") == 42);
}

TEST_CASE("bound imports: versioned ones and weak ones") {
  const Workshop workshop;
  soswap::test::WriteText(workshop / "versions", "V1 { global: numbered; local: *; };");
  const auto other = workshop.Compile(
      "libnumbered.so", "int numbered(void) { return 1; }",
      "-Wl,-soname,libnumbered.so -Wl,--version-script,'" + (workshop / "versions") + "'");
  const BoundImports bound({{"numbered", AddressOf(Numbered)}, {"nowhere", AddressOf(Numbered)}});
  const auto path = workshop.Compile("lib.so",
                                     "int numbered(void); int ask(void) { return numbered(); }"
                                     "__attribute__((weak)) int nowhere(void);"
                                     "__attribute__((weak)) int absent(void);"
                                     "int weak(void) { return nowhere ? nowhere() : 0; }"
                                     "int none(void) { return absent ? absent() : 0; }",
                                     "'" + other + "' -Wl,-rpath," + workshop.path());
  for (const int mode : {RTLD_NOW, RTLD_LAZY}) {
    const auto image = LoadBound(path, mode, bound);
    CHECK(Call(*image, "ask") == 3);
    CHECK(Call(*image, "weak") == 3);
    CHECK(Call(*image, "none") == 0);
  }
  const auto plain = Load(TakeSnapshot(path, path, {}), RTLD_NOW);
  CHECK(Call(*plain, "ask") == 1);
  CHECK(Call(*plain, "weak") == 0);
}

TEST_CASE("bound imports: one name of many") {
  const Workshop workshop;
  constexpr int kMany = 32;
  std::string provided;
  std::string source;
  std::string sum = "int sum(void) { return 0";
  std::vector<std::string> names;
  for (int number = 0; number < kMany; ++number) {
    const std::string name = "many" + std::to_string(number);
    names.push_back(name);
    provided += "int " + name + "(void) { return 1; }\n";
    source += "int " + name + "(void);\n";
    sum += " + " + name + "()";
  }
  const auto other = workshop.Compile("libmany.so", provided, "-Wl,-soname,libmany.so");
  const auto path = workshop.Compile("lib.so", source + sum + "; }",
                                     "'" + other + "' -Wl,-rpath," + workshop.path());
  for (int number = 0; number <= kMany; number += kMany / 4) {
    std::vector<BoundImports::Function> functions;
    for (int each = 0; each < number; ++each)
      functions.push_back({names[each], AddressOf(Numbered)});
    const BoundImports bound(functions);
    CHECK(Call(*LoadBound(path, RTLD_NOW, bound), "sum") == kMany + 2 * number);
  }
}

TEST_CASE("bound imports: what is known of the file stays") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so",
                                     "int pthread_create(void*, void*, void*, void*); int f(void) "
                                     "{ return pthread_create(0, 0, 0, 0); }");
  const BoundImports bound({{"pthread_create", AddressOf(Numbered)}});
  const auto taken = TakeSnapshot(path, path, Binding(bound));
  const auto names = [](const ElfFile& elf) {
    std::vector<std::string> list;
    for (const auto& import : elf.Imports()) list.push_back(import.name + "@" + import.version);
    return list;
  };
  CHECK(names(taken->elf) == names(TakeSnapshot(path, path, {})->elf));
  // Bound to a function that tracks nothing, as imports are where own symbols come first.
  CHECK(taken->unload.thread_functions == std::vector<std::string>{"pthread_create"});
}

TEST_CASE("bound imports: the same plan makes the same bytes") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kSource, "-lm");
  const CopyPlan plan = Binding(Ours());
  const auto taken = TakeSnapshot(path, path, plan);
  CHECK(StillInFile(*taken, path, plan));
  CHECK_FALSE(StillInFile(*taken, path, {}));
}

TEST_CASE("bound imports: the copy of another process is bound anew") {
  const Workshop workshop;
  const auto path = workshop.Compile("lib.so", kSource, "-lm");
  ElfBytes bytes(path);
  const BoundImports elsewhere({{"getpid", 0x1111}, {"sin", 0x2222}});
  const auto parse = [&] { return ElfFile::Parse(bytes.span(), "library.so"); };
  BindImports(elsewhere)(parse(), bytes.editable());
  CHECK(Judge(bytes).reason == "");
  bytes.Save(workshop / "bound.so");
  CheckAllWays(*LoadBound(workshop / "bound.so", RTLD_NOW));
  // What only the program and its libraries have.
  const BoundImports none({});
  BindImports(none)(parse(), bytes.editable());
  ElfBytes lost(
      workshop.Compile("lost.so", "int nobodys(void); int f(void) { return nobodys(); }"));
  const auto parse_lost = [&] { return ElfFile::Parse(lost.span(), "lost.so"); };
  BindImports(BoundImports({{"nobodys", 0x1111}}))(parse_lost(), lost.editable());
  CHECK_THROWS_AS(BindImports(none)(parse_lost(), lost.editable()), soswap::Error);
  CHECK_THROWS_AS(BindImports(Ours())(parse(), bytes.editable().first(64)), std::out_of_range);
}
