#include <dlfcn.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/elf/edit.h"
#include "elf_bytes.h"

using soswap::BindSymbolically;
using soswap::ClearNoDelete;
using soswap::DemoteUniqueSymbols;
using soswap::EditNamed;
using soswap::ElfFile;
using soswap::Error;
using soswap::Fault;
using soswap::HideSoname;
using soswap::test::ElfBytes;
using soswap::test::Judge;
using soswap::test::Workshop;

namespace {

// Opens, uses and closes. Whether the image was gone afterwards.
bool Unloads(const std::string& path, const char* symbol) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  REQUIRE(handle != nullptr);
  CHECK(dlsym(handle, symbol) != nullptr);
  dlclose(handle);
  void* again = dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (again == nullptr) return true;
  dlclose(again);
  return false;
}

ElfFile Parse(const ElfBytes& bytes) { return ElfFile::Parse(bytes.span(), "library.so"); }

const std::string kUniqueSource = R"(
  __asm__(".data\n.globl shared\n.type shared, %gnu_unique_object\n.balign 4\n"
          "shared: .long 7\n.size shared, 4\n.text");
  extern int shared;
  int* get(void) { return &shared; }
)";

// Both libraries define `which`; `ask` calls the one of the global scope, unless bound
// symbolically.
const std::string kOther = "int which(void) { return 1; }";
const std::string kAsking = "int which(void) { return 2; } int ask(void) { return which(); }";

int Ask(const Workshop& workshop, const std::string& path, const char* function = "ask") {
  void* other = dlopen(workshop.Compile("other.so", kOther).c_str(), RTLD_NOW | RTLD_GLOBAL);
  REQUIRE(other != nullptr);
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  REQUIRE(handle != nullptr);
  const int answer = reinterpret_cast<int (*)()>(dlsym(handle, function))();
  dlclose(handle);
  dlclose(other);
  return answer;
}

}  // namespace

TEST_CASE("a library unloads once its unique symbols are global") {
  const Workshop workshop;
  const std::string path = workshop.Compile("library.so", kUniqueSource);
  ElfBytes bytes(path);
  CHECK(Parse(bytes).UniqueSymbols() == std::vector<std::string>{"shared"});
  DemoteUniqueSymbols(Parse(bytes), bytes.editable());
  CHECK(Parse(bytes).UniqueSymbols().empty());
  CHECK(Judge(bytes).reason == "");
  CHECK(Parse(bytes).Defines("shared"));
  bytes.Save(workshop / "edited.so");
  CHECK(Unloads(workshop / "edited.so", "shared"));
  // Last, because it stays for ever.
  CHECK_FALSE(Unloads(path, "shared"));
}

TEST_CASE("a library unloads once DF_1_NODELETE is cleared") {
  const Workshop workshop;
  const std::string path =
      workshop.Compile("library.so", "int answer(void) { return 42; }", "-Wl,-z,nodelete");
  ElfBytes bytes(path);
  CHECK(Parse(bytes).facts().flags.no_delete);
  ClearNoDelete(Parse(bytes), bytes.editable());
  CHECK_FALSE(Parse(bytes).facts().flags.no_delete);
  bytes.Save(workshop / "edited.so");
  CHECK(Unloads(workshop / "edited.so", "answer"));
  CHECK_FALSE(Unloads(path, "answer"));
}

TEST_CASE("the loader does not know a library by a name that was hidden") {
  const Workshop workshop;
  const std::string path =
      workshop.Compile("library.so", "int answer(void) { return 42; }", "-Wl,-soname,libhidden.so");
  ElfBytes bytes(path);
  HideSoname(Parse(bytes), bytes.editable());
  CHECK_FALSE(Parse(bytes).facts().soname);
  bytes.Save(workshop / "edited.so");
  const auto knows = [](const std::string& file) {
    void* handle = dlopen(file.c_str(), RTLD_NOW);
    REQUIRE(handle != nullptr);
    void* named = dlopen("libhidden.so", RTLD_NOW | RTLD_NOLOAD);
    if (named != nullptr) dlclose(named);
    dlclose(handle);
    return named != nullptr;
  };
  CHECK(knows(path));
  CHECK_FALSE(knows(workshop / "edited.so"));
}

TEST_CASE("a library binds to itself once it is symbolic") {
  const Workshop workshop;
  SUBCASE("with DF_SYMBOLIC in an existing entry") {
    const std::string path = workshop.Compile("library.so", kAsking, "-Wl,-z,now");
    ElfBytes bytes(path);
    CHECK_NOTHROW(bytes.DynamicOf(DT_FLAGS));
    CHECK(Ask(workshop, path) == 1);
    BindSymbolically(Parse(bytes), bytes.editable());
    CHECK(Parse(bytes).facts().flags.symbolic);
    bytes.Save(workshop / "edited.so");
    CHECK(Ask(workshop, workshop / "edited.so") == 2);
  }
  SUBCASE("with DT_SYMBOLIC in a spare entry") {
    const std::string path = workshop.Compile("library.so", kAsking, "-fuse-ld=bfd -Wl,-z,lazy");
    ElfBytes bytes(path);
    CHECK_THROWS(bytes.DynamicOf(DT_FLAGS));
    CHECK(Ask(workshop, path) == 1);
    BindSymbolically(Parse(bytes), bytes.editable());
    CHECK(bytes.Dynamic(DT_SYMBOLIC) == 0);
    BindSymbolically(Parse(bytes), bytes.editable());
    bytes.Save(workshop / "edited.so");
    CHECK(Ask(workshop, workshop / "edited.so") == 2);
  }
}

TEST_CASE("DF_1_NODELETE of a Go library is kept") {
  const Workshop workshop;
  ElfBytes bytes(workshop.Compile("library.so", "void crosscall2(void) {}", "-Wl,-z,nodelete"));
  REQUIRE(Parse(bytes).facts().is_go);
  ClearNoDelete(Parse(bytes), bytes.editable());
  CHECK(Parse(bytes).facts().flags.no_delete);
}

TEST_CASE("a library without room for DT_SYMBOLIC binds to itself too") {
  const Workshop workshop;
  ElfBytes bytes(workshop.Compile("library.so", kAsking, "-fuse-ld=bfd -Wl,-z,lazy"));
  const auto section = bytes.Get<Elf64_Phdr>(bytes.HeaderOf(PT_DYNAMIC));
  const std::size_t last = section.p_offset + section.p_filesz - sizeof(Elf64_Dyn);
  for (std::size_t at = section.p_offset; at < last; at += sizeof(Elf64_Dyn)) {
    bytes.Edit<Elf64_Dyn>(at, [](Elf64_Dyn& entry) {
      if (entry.d_tag == DT_NULL) entry.d_tag = DT_DEBUG;
    });
  }
  REQUIRE(Judge(bytes).reason == "");
  BindSymbolically(Parse(bytes), bytes.editable());
  CHECK_FALSE(Parse(bytes).facts().flags.symbolic);
  CHECK(Judge(bytes).reason == "");
  bytes.Save(workshop / "edited.so");
  CHECK(Ask(workshop, workshop / "edited.so") == 2);
}

TEST_CASE("an allocator that a library exports can be replaced, its other functions cannot") {
  const Workshop workshop;
  // The C library's, and that of the global scope.
  const std::string source =
      kAsking +
      "void* malloc(unsigned long size) { return (void*)1; }"
      "int (*in_data)(void) = which; int data(void) { return in_data(); }"
      "void free(void*);"
      "int mine(void) { void* block = malloc(8); if (block == (void*)1) return 1;"
      " free(block); return 0; }";
  for (const std::string flags :
       {"-fno-builtin", "-fno-builtin -fno-plt", "-fno-builtin -Wl,-z,now"}) {
    ElfBytes bytes(workshop.Compile("library.so", source, flags));
    BindSymbolically(Parse(bytes), bytes.editable());
    CHECK_FALSE(Parse(bytes).facts().flags.symbolic);
    CHECK(Judge(bytes).reason == "");
    bytes.Save(workshop / "edited.so");
    CHECK(Ask(workshop, workshop / "edited.so") == 2);
    CHECK(Ask(workshop, workshop / "edited.so", "data") == 2);
    CHECK(Ask(workshop, workshop / "edited.so", "mine") == 0);
  }
}

TEST_CASE("an edit is found by its name") {
  const Workshop workshop;
  ElfBytes bytes(
      workshop.Compile("library.so", "int answer(void) { return 42; }", "-Wl,-z,nodelete"));
  EditNamed("clear-nodelete")(Parse(bytes), bytes.editable());
  CHECK_FALSE(Parse(bytes).facts().flags.no_delete);
  CHECK_THROWS_AS(EditNamed("clear"), std::invalid_argument);
}

TEST_CASE("an edit never leaves the copy") {
  const Workshop workshop;
  ElfBytes bytes(workshop.Compile("library.so", kUniqueSource, "-Wl,-z,nodelete"));
  const ElfFile file = Parse(bytes);
  const auto start = bytes.editable().first(64);
  CHECK_THROWS_AS(DemoteUniqueSymbols(file, start), std::out_of_range);
  CHECK_THROWS_AS(ClearNoDelete(file, start), std::out_of_range);
}
