#include <dlfcn.h>
#include <doctest/doctest.h>
#include <link.h>

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/elf/file.h"
#include "elf_bytes.h"

using soswap::ElfBinding;
using soswap::ElfExport;
using soswap::ElfFile;
using soswap::ElfImport;
using soswap::ElfType;
using soswap::Error;
using soswap::Fault;
using soswap::test::ElfBytes;
using soswap::test::Judge;
using soswap::test::Quoted;
using soswap::test::Run;
using soswap::test::Verdict;
using soswap::test::Workshop;
using soswap::test::WriteText;

namespace {

// Has a bit of everything that ends up in the tables: data that is relocated, thread-local storage,
// initializers, an indirect function, imports.
const std::string kSource = R"(
  #include <stdlib.h>
  __thread int per_thread = 3;
  int counter;
  static int* pointer = &counter;
  int (*convert)(const char*) = atoi;
  int answer(void) { return 42 + *pointer; }
  int call(void) { per_thread++; return abs(atoi("3")) + answer(); }
  __attribute__((weak)) int weakly(void) { return 1; }
  __attribute__((visibility("hidden"))) int hidden(void) { return 2; }
  static int resolved(void) { return 7; }
  static void* resolve(void) { return resolved; }
  int indirect(void) __attribute__((ifunc("resolve")));
  __attribute__((constructor)) static void up(void) { counter = 0; }
  __attribute__((destructor)) static void down(void) { counter = 0; }
)";

ElfFile Parse(const ElfBytes& bytes) { return ElfFile::Parse(bytes.span(), "library.so"); }

ElfBytes Compiled(const Workshop& workshop, const std::string& flags = "",
                  const std::string& source = kSource) {
  return ElfBytes(workshop.Compile("library.so", source, flags));
}

const ElfExport* Find(const std::vector<ElfExport>& symbols, std::string_view name) {
  const auto at = std::find_if(symbols.begin(), symbols.end(),
                               [&](const ElfExport& symbol) { return symbol.name == name; });
  return at == symbols.end() ? nullptr : &*at;
}

// Where the last byte lies that the loader may touch.
std::size_t LoadedSize(const ElfBytes& bytes) {
  std::size_t size = 0;
  for (std::size_t i = 0; i < bytes.header().e_phnum; ++i) {
    const auto segment = bytes.Get<Elf64_Phdr>(bytes.header().e_phoff + i * sizeof(Elf64_Phdr));
    if (segment.p_type == PT_LOAD) size = std::max(size, segment.p_offset + segment.p_filesz);
  }
  return size;
}

// The linkers that are installed.
std::vector<std::string> Linkers() {
  std::vector<std::string> linkers;
  for (const std::string name : {"bfd", "gold", "lld", "mold"}) {
    if (Run("command -v ld." + name + " >/dev/null") == 0) linkers.push_back(name);
  }
  return linkers;
}

}  // namespace

TEST_CASE("the facts of a library are read") {
  const Workshop workshop;
  const ElfBytes bytes = Compiled(workshop,
                                  "-Wl,-soname,libexample.so.1 -Wl,--build-id=0x0123456789abcdef"
                                  " -Wl,--enable-new-dtags,-rpath,/opt/example -lm");
  const ElfFile file = Parse(bytes);
  const auto& facts = file.facts();
#if defined(__x86_64__)
  CHECK(facts.machine == "x86-64");
#else
  CHECK(facts.machine == "AArch64");
#endif
  CHECK(file.subject() == "library.so");
  CHECK(facts.soname == "libexample.so.1");
  CHECK(facts.build_id == "0123456789abcdef");
  CHECK(facts.runpath == "/opt/example");
  CHECK_FALSE(facts.rpath.has_value());
  REQUIRE(facts.needed.size() >= 2);
  CHECK(facts.needed.front() == "libm.so.6");
  CHECK(facts.has_tls);
  CHECK_FALSE(facts.is_go);
  CHECK(facts.memory_size >= LoadedSize(bytes));
}

TEST_CASE("DT_RPATH and DT_RUNPATH are different facts") {
  const Workshop workshop;
  const auto bytes = Compiled(workshop, "-Wl,--disable-new-dtags,-rpath,/opt/example");
  CHECK(Parse(bytes).facts().rpath == "/opt/example");
  CHECK_FALSE(Parse(bytes).facts().runpath.has_value());
}

TEST_CASE("the flags of the dynamic section are read") {
  const Workshop workshop;
  CHECK(Parse(Compiled(workshop, "-Wl,-z,nodelete")).facts().flags.no_delete);
  CHECK(Parse(Compiled(workshop, "-Wl,-Bsymbolic")).facts().flags.symbolic);
  CHECK(Parse(Compiled(workshop, "-Wl,-z,now")).facts().flags.bind_now);
  CHECK(Parse(Compiled(workshop, "-ftls-model=initial-exec")).facts().flags.static_tls);
  const auto plain = Parse(Compiled(workshop, "-Wl,-z,lazy")).facts().flags;
  CHECK_FALSE(plain.no_delete);
  CHECK_FALSE(plain.symbolic);
  CHECK_FALSE(plain.text_relocations);
  CHECK_FALSE(plain.bind_now);
}

TEST_CASE("exported symbols come with size, type and binding") {
  const Workshop workshop;
  const ElfBytes bytes = Compiled(workshop);
  const ElfFile file = Parse(bytes);
  const auto exports = file.Exports();
  const auto* answer = Find(exports, "answer");
  REQUIRE(answer != nullptr);
  CHECK(answer->type == ElfType::kFunction);
  CHECK(answer->binding == ElfBinding::kGlobal);
  CHECK(answer->size > 0);
  CHECK(answer->version.empty());
  REQUIRE(Find(exports, "counter") != nullptr);
  CHECK(Find(exports, "counter")->type == ElfType::kObject);
  CHECK(Find(exports, "counter")->size == sizeof(int));
  REQUIRE(Find(exports, "per_thread") != nullptr);
  CHECK(Find(exports, "per_thread")->type == ElfType::kThreadLocal);
  REQUIRE(Find(exports, "indirect") != nullptr);
  CHECK(Find(exports, "indirect")->type == ElfType::kIndirectFunction);
  REQUIRE(Find(exports, "weakly") != nullptr);
  CHECK(Find(exports, "weakly")->binding == ElfBinding::kWeak);
  CHECK(Find(exports, "hidden") == nullptr);
  CHECK(Find(exports, "resolved") == nullptr);
  CHECK(Find(exports, "atoi") == nullptr);
}

TEST_CASE("imported symbols come with their version") {
  const Workshop workshop;
  const ElfBytes bytes = Compiled(workshop, "-O0 -fno-builtin");
  const ElfFile file = Parse(bytes);
  const auto imports = file.Imports();
  const auto at = std::find_if(imports.begin(), imports.end(),
                               [](const ElfImport& symbol) { return symbol.name == "atoi"; });
  REQUIRE(at != imports.end());
  CHECK_FALSE(at->weak);
  CHECK(at->version.starts_with("GLIBC_"));
  CHECK(std::any_of(imports.begin(), imports.end(),
                    [](const ElfImport& symbol) { return symbol.weak; }));
  CHECK(std::none_of(imports.begin(), imports.end(),
                     [](const ElfImport& symbol) { return symbol.name == "answer"; }));
}

TEST_CASE("versions are read, and dlsym does not find a hidden version") {
  const Workshop workshop;
  WriteText(workshop / "versions",
            "OLD { global: old_only; choice; local: *; };\nNEW { global: choice; } OLD;\n");
  const std::string source = R"(
    int first(void) { return 1; }
    int second(void) { return 2; }
    int third(void) { return 3; }
    __asm__(".symver first, choice@OLD");
    __asm__(".symver second, choice@@NEW");
    __asm__(".symver third, old_only@OLD");
  )";
  const std::string path = workshop.Compile(
      "library.so", source, "-Wl,--version-script=" + Quoted(workshop / "versions"));
  const ElfBytes bytes(path);
  const ElfFile file = Parse(bytes);
  std::set<std::string> choices;
  for (const auto& symbol : file.Exports()) {
    if (symbol.name == "choice") choices.insert(symbol.version);
  }
  CHECK(choices == std::set<std::string>{"OLD", "NEW"});
  REQUIRE(file.Defines("choice"));
  CHECK(file.symbols().versions().NameOf(*file.symbols().Find("choice")) == "NEW");
  CHECK_FALSE(file.Defines("old_only"));
  // dlsym(3) does find the symbol that the linker makes of a version, but nobody asked for it.
  CHECK(Find(file.Exports(), "NEW") == nullptr);

  void* handle = dlopen(path.c_str(), RTLD_NOW);
  REQUIRE(handle != nullptr);
  CHECK(dlsym(handle, "choice") != nullptr);
  CHECK(dlsym(handle, "old_only") == nullptr);
  dlclose(handle);
}

TEST_CASE("a name is found as dlsym finds it, whatever the hash table") {
  const Workshop workshop;
  for (const std::string style : {"gnu", "sysv", "both"}) {
    CAPTURE(style);
    const std::string path = workshop.Compile(style + ".so", kSource, "-Wl,--hash-style=" + style);
    const ElfBytes bytes(path);
    const ElfFile file = Parse(bytes);
    void* handle = dlopen(path.c_str(), RTLD_NOW);
    REQUIRE(handle != nullptr);
    const link_map* image = nullptr;
    REQUIRE(dlinfo(handle, RTLD_DI_LINKMAP, &image) == 0);
    for (const std::string name : {"answer", "call", "counter", "convert", "weakly"}) {
      CAPTURE(name);
      REQUIRE(file.Defines(name));
      CHECK(reinterpret_cast<std::uintptr_t>(dlsym(handle, name.c_str())) ==
            image->l_addr + file.symbols().At(*file.symbols().Find(name)).st_value);
    }
    CHECK(file.Defines("indirect"));
    CHECK(file.Defines("per_thread"));
    for (const std::string name : {"hidden", "resolved", "up", "atoi", "missing", "answe", ""}) {
      CAPTURE(name);
      CHECK_FALSE(file.Defines(name));
    }
    dlclose(handle);
  }
}

TEST_CASE("every export of a large library is found by name") {
  // The libraries this very process has loaded, with the odd one out: the vDSO has no file.
  std::vector<std::string> paths;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        if (info->dlpi_name[0] == '/') {
          static_cast<std::vector<std::string>*>(data)->emplace_back(info->dlpi_name);
        }
        return 0;
      },
      &paths);
  REQUIRE_FALSE(paths.empty());
  for (const std::string& path : paths) {
    CAPTURE(path);
    const ElfBytes bytes(path);
    // Other tests leave images mapped whose files are gone.
    if (bytes.size() == 0) continue;
    const ElfFile file = Parse(bytes);
    CHECK_FALSE(file.Defines("no such symbol"));
    for (const auto& symbol : file.Exports()) {
      CAPTURE(symbol.name);
      CHECK(file.symbols().Find(symbol.name, symbol.version));
    }
  }
}

TEST_CASE("unique symbols are listed") {
  const Workshop workshop;
  WriteText(workshop / "unique.cc", R"(
    template <typename T> struct Holder { static inline T value = 3; };
    extern "C" int* get() { return &Holder<int>::value; }
  )");
  const std::string path = workshop / "unique.so";
  REQUIRE(Run("c++ -std=c++17 -shared -fPIC -o " + Quoted(path) + " " +
              Quoted(workshop / "unique.cc")) == 0);
  const ElfBytes bytes(path);
  const ElfFile file = Parse(bytes);
  CHECK(file.UniqueSymbols() == std::vector<std::string>{"_ZN6HolderIiE5valueE"});
  REQUIRE(Find(file.Exports(), "_ZN6HolderIiE5valueE") != nullptr);
  CHECK(Find(file.Exports(), "_ZN6HolderIiE5valueE")->binding == ElfBinding::kUnique);
  const ElfBytes plain = Compiled(workshop);
  CHECK(Parse(plain).UniqueSymbols().empty());
}

TEST_CASE("a Go library is recognised by its note, or by the symbols of its runtime") {
  const Workshop workshop;
  const ElfBytes noted = Compiled(workshop, "", R"(
    __asm__(".pushsection .note.go.buildid, \"a\", %note\n"
            ".long 4, 4, 4\n.asciz \"Go\\0\"\n.long 0\n.popsection");
    int answer(void) { return 42; }
  )");
  CHECK(Parse(noted).facts().is_go);
  const ElfBytes stripped = Compiled(workshop, "", "void crosscall2(void) {}");
  CHECK(Parse(stripped).facts().is_go);
}

TEST_CASE("libraries of all linkers are accepted, and load") {
  const Workshop workshop;
  const std::vector<std::string> variants{"",
                                          "-Wl,-z,now",
                                          "-Wl,-z,lazy",
                                          "-Wl,-z,norelro",
                                          "-Wl,-z,noseparate-code",
                                          "-Wl,-z,separate-code",
                                          "-Wl,--hash-style=sysv",
                                          "-Wl,--hash-style=gnu",
                                          "-Wl,--hash-style=both",
                                          "-Wl,-z,max-page-size=65536",
                                          "-Wl,-Bsymbolic",
                                          "-Wl,--build-id=none -s",
                                          "-fno-plt",
                                          "-nostartfiles",
                                          "-g"};
  for (const std::string& linker : Linkers()) {
    for (const std::string& variant : variants) {
      // gold always keeps code and data on one page.
      if (linker == "gold" && variant.ends_with("separate-code")) continue;
      const std::string flags = "-fuse-ld=" + linker + " " + variant;
      CAPTURE(flags);
      const std::string path = workshop.Compile("library.so", kSource, flags);
      CHECK(Judge(ElfBytes(path)).reason == "");
      void* handle = dlopen(path.c_str(), RTLD_NOW);
      CHECK(handle != nullptr);
      if (handle != nullptr) dlclose(handle);
    }
  }
}

TEST_CASE("packed relative relocations are accepted") {
  const Workshop workshop;
  if (Run("echo 'int* p(void); int a; int* b = &a;' | cc -shared -fPIC -xc - -o " +
          Quoted(workshop / "probe.so") + " -Wl,-z,pack-relative-relocs -Werror 2>/dev/null") !=
      0) {
    MESSAGE("the linker cannot pack relative relocations");
    return;
  }
  ElfBytes bytes = Compiled(workshop, "-Wl,-z,pack-relative-relocs");
  CHECK(Judge(bytes).reason == "");
  REQUIRE(bytes.Dynamic(DT_RELRSZ) > 0);
  bytes.Set(bytes.TableOf(DT_RELR), std::uint64_t{1});
  CHECK(Judge(bytes).fault == Fault::kMalformed);
}

TEST_CASE("libraries without code, without exports and without section headers are accepted") {
  const Workshop workshop;
  CHECK(Judge(Compiled(workshop, "", "")).reason == "");
  CHECK(Judge(Compiled(workshop, "-nostdlib", "")).reason == "");
  CHECK(Judge(Compiled(workshop, "", "static int x; static int* y = &x; int** z(void);")).reason ==
        "");
  ElfBytes bytes = Compiled(workshop);
  bytes.Edit<Elf64_Ehdr>(0, [](Elf64_Ehdr& header) {
    header.e_shoff = 0;
    header.e_shnum = 0;
    header.e_shstrndx = 0;
  });
  CHECK(Judge(bytes).reason == "");
  bytes.Edit<Elf64_Ehdr>(0, [](Elf64_Ehdr& header) {
    header.e_shoff = std::numeric_limits<Elf64_Off>::max();
    header.e_shnum = std::numeric_limits<Elf64_Half>::max();
    header.e_shentsize = std::numeric_limits<Elf64_Half>::max();
  });
  CHECK(Judge(bytes).reason == "");
}

TEST_CASE("each kind of file that is not a shared object of this machine has its own fault") {
  const Workshop workshop;
  CHECK(Judge(std::span<const std::byte>()).fault == Fault::kTruncated);
  WriteText(workshop / "script", "#!/bin/sh\n");
  CHECK(Judge(ElfBytes(workshop / "script")).fault == Fault::kNotElf);
  WriteText(workshop / "letter", "\x7f");
  CHECK(Judge(ElfBytes(workshop / "letter")).fault == Fault::kTruncated);

  const ElfBytes original = Compiled(workshop);
  const auto judged = [&](const std::function<void(Elf64_Ehdr&)>& change) {
    ElfBytes bytes = original;
    bytes.Edit<Elf64_Ehdr>(0, change);
    return Judge(bytes);
  };
  const Verdict other = judged([](Elf64_Ehdr& header) { header.e_machine = EM_RISCV; });
  CHECK(other.fault == Fault::kWrongMachine);
  CHECK(other.reason.find("built for RISC-V, this process runs ") != std::string::npos);
  CHECK(judged([](Elf64_Ehdr& header) { header.e_ident[EI_CLASS] = ELFCLASS32; }).fault ==
        Fault::kWrongMachine);
  CHECK(judged([](Elf64_Ehdr& header) { header.e_ident[EI_DATA] = ELFDATA2MSB; }).fault ==
        Fault::kWrongMachine);
  for (const Elf64_Half type : {ET_NONE, ET_REL, ET_EXEC, ET_CORE, 0xfe00}) {
    CAPTURE(type);
    CHECK(judged([&](Elf64_Ehdr& header) { header.e_type = type; }).fault ==
          Fault::kNotSharedObject);
  }
}

TEST_CASE("programs are refused, whether position-independent or not") {
  const Workshop workshop;
  WriteText(workshop / "main.c", "int main(void) { return 0; }");
  for (const std::string flags : {"-pie -fPIE", "-no-pie", "-static-pie -fPIE", "-c"}) {
    CAPTURE(flags);
    const std::string program = workshop / "program";
    REQUIRE(Run("cc " + flags + " -o " + Quoted(program) + " " + Quoted(workshop / "main.c")) == 0);
    CHECK(Judge(ElfBytes(program)).fault == Fault::kNotSharedObject);
  }
  ElfBytes unmarked(workshop.Compile("library.so", "", ""));
  REQUIRE(Run("cc -pie -fPIE -o " + Quoted(workshop / "program") + " " +
              Quoted(workshop / "main.c")) == 0);
  unmarked = ElfBytes(workshop / "program");
  unmarked.SetDynamic(DT_FLAGS_1, 0);
  CHECK(Judge(unmarked).fault == Fault::kNotSharedObject);
}

TEST_CASE("a library that can be run is a shared object") {
  const Workshop workshop;
  const ElfBytes bytes = Compiled(workshop, "-Wl,-e,answer",
                                  "const char interpreter[] __attribute__((section(\".interp\"))) ="
                                  " \"/lib/ld.so\"; int answer(void) { return 42; }");
  CHECK_NOTHROW(bytes.HeaderOf(PT_INTERP));
  CHECK(Judge(bytes).reason == "");
}

TEST_CASE("a file that ends early is refused with figures, wherever it ends") {
  const Workshop workshop;
  const ElfBytes bytes = Compiled(workshop);
  const std::size_t loaded = LoadedSize(bytes);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CAPTURE(size);
    // A copy of its own, so that a read past the end is one past the end of an allocation.
    const std::vector<std::byte> part(bytes.span().begin(),
                                      bytes.span().begin() + static_cast<std::ptrdiff_t>(size));
    const Verdict verdict = Judge(part);
    if (size >= loaded) {
      CHECK(verdict.reason == "");
      continue;
    }
    CHECK(verdict.fault == Fault::kTruncated);
    if (size > sizeof(Elf64_Ehdr)) {
      CHECK(verdict.reason.find("holds " + std::to_string(size) + " of the ") != std::string::npos);
    }
  }
}

namespace {

struct Damage {
  const char* name;
  void (*apply)(ElfBytes& bytes);
};

void EditSegment(ElfBytes& bytes, std::uint32_t type, void (*change)(Elf64_Phdr& header),
                 bool last = false) {
  bytes.Edit<Elf64_Phdr>(bytes.HeaderOf(type, last), change);
}

void EditRelocation(ElfBytes& bytes, std::int64_t table, void (*change)(Elf64_Rela& entry)) {
  bytes.Edit<Elf64_Rela>(bytes.TableOf(table), change);
}

constexpr std::uint64_t kFarAway = 0x7f0000000;

constexpr std::array kDamages{
    Damage{"the size of a program header",
           [](ElfBytes& bytes) {
             bytes.Edit<Elf64_Ehdr>(0, [](Elf64_Ehdr& header) { header.e_phentsize = 32; });
           }},
    Damage{"no program headers",
           [](ElfBytes& bytes) {
             bytes.Edit<Elf64_Ehdr>(0, [](Elf64_Ehdr& header) { header.e_phnum = 0; });
           }},
    Damage{"the ELF version",
           [](ElfBytes& bytes) {
             bytes.Edit<Elf64_Ehdr>(0, [](Elf64_Ehdr& header) { header.e_version = 2; });
           }},
    Damage{"more of a segment in the file than in memory",
           [](ElfBytes& bytes) {
             EditSegment(bytes, PT_LOAD, [](Elf64_Phdr& header) { header.p_memsz = 16; });
           }},
    Damage{"an alignment that is not a power of two",
           [](ElfBytes& bytes) {
             EditSegment(bytes, PT_LOAD, [](Elf64_Phdr& header) { header.p_align = 4097; });
           }},
    Damage{"an offset that does not fit the address",
           [](ElfBytes& bytes) {
             EditSegment(
                 bytes, PT_LOAD, [](Elf64_Phdr& header) { header.p_vaddr += 8; }, true);
           }},
    Damage{"segments in the wrong order",
           [](ElfBytes& bytes) {
             EditSegment(
                 bytes, PT_LOAD, [](Elf64_Phdr& header) { header.p_vaddr &= 0xfff; }, true);
           }},
    Damage{"a segment at the end of the address space",
           [](ElfBytes& bytes) {
             EditSegment(
                 bytes, PT_LOAD, [](Elf64_Phdr& header) { header.p_vaddr |= ~0xfffULL; }, true);
           }},
    Damage{"zero-filled memory without end",
           [](ElfBytes& bytes) {
             EditSegment(
                 bytes, PT_LOAD, [](Elf64_Phdr& header) { header.p_memsz = ~0ULL; }, true);
           }},
    Damage{"no segment",
           [](ElfBytes& bytes) {
             const auto header = bytes.header();
             for (std::size_t i = 0; i < header.e_phnum; ++i) {
               bytes.Edit<Elf64_Phdr>(header.e_phoff + i * sizeof(Elf64_Phdr),
                                      [](Elf64_Phdr& entry) {
                                        if (entry.p_type == PT_LOAD) entry.p_type = PT_NULL;
                                      });
             }
           }},
    Damage{"no dynamic section",
           [](ElfBytes& bytes) {
             EditSegment(bytes, PT_DYNAMIC, [](Elf64_Phdr& header) { header.p_type = PT_NULL; });
           }},
    Damage{"the dynamic section outside the segments",
           [](ElfBytes& bytes) {
             EditSegment(bytes, PT_DYNAMIC, [](Elf64_Phdr& header) { header.p_vaddr = kFarAway; });
           }},
    Damage{"the dynamic section at another offset",
           [](ElfBytes& bytes) {
             EditSegment(bytes, PT_DYNAMIC, [](Elf64_Phdr& header) { header.p_offset -= 16; });
           }},
    Damage{"a dynamic section without end",
           [](ElfBytes& bytes) {
             const auto header = bytes.Get<Elf64_Phdr>(bytes.HeaderOf(PT_DYNAMIC));
             for (std::size_t at = 0; at < header.p_filesz; at += sizeof(Elf64_Dyn)) {
               bytes.Edit<Elf64_Dyn>(header.p_offset + at, [](Elf64_Dyn& entry) {
                 if (entry.d_tag == DT_NULL) entry.d_tag = DT_DEBUG;
               });
             }
           }},
    Damage{"a dynamic section that goes on after its end",
           [](ElfBytes& bytes) {
             bytes.Set(bytes.DynamicOf(DT_NULL) + sizeof(Elf64_Dyn), std::int64_t{DT_DEBUG});
           }},
    Damage{"a size without its table", [](ElfBytes& bytes) { bytes.RemoveDynamic(DT_FINI_ARRAY); }},
    Damage{"segments that take the same bytes of the file",
           [](ElfBytes& bytes) {
             EditSegment(
                 bytes, PT_LOAD, [](Elf64_Phdr& header) { header.p_offset &= 0xfff; }, true);
           }},
    Damage{"zero-filled memory that cannot be written",
           [](ElfBytes& bytes) {
             EditSegment(bytes, PT_LOAD, [](Elf64_Phdr& header) { header.p_memsz += 8; });
           }},
    Damage{"a dynamic section that is mapped read-only",
           [](ElfBytes& bytes) {
             EditSegment(
                 bytes, PT_LOAD, [](Elf64_Phdr& header) { header.p_flags = PF_R; }, true);
           }},
    Damage{"tables that cannot be read",
           [](ElfBytes& bytes) {
             EditSegment(bytes, PT_LOAD, [](Elf64_Phdr& header) { header.p_flags = 0; });
           }},
    Damage{"thread-local storage outside the segments",
           [](ElfBytes& bytes) {
             EditSegment(bytes, PT_TLS, [](Elf64_Phdr& header) { header.p_vaddr = kFarAway; });
           }},
    Damage{"thread-local storage at no alignment",
           [](ElfBytes& bytes) {
             EditSegment(bytes, PT_TLS, [](Elf64_Phdr& header) { header.p_align = 0; });
           }},
    Damage{"thread-local storage of a terabyte",
           [](ElfBytes& bytes) {
             EditSegment(bytes, PT_TLS, [](Elf64_Phdr& header) { header.p_memsz = 1ULL << 40; });
           }},
    Damage{"thread-local symbols without thread-local storage",
           [](ElfBytes& bytes) {
             EditSegment(bytes, PT_TLS, [](Elf64_Phdr& header) { header.p_type = PT_NULL; });
           }},
    Damage{"read-only pages outside the segments",
           [](ElfBytes& bytes) {
             EditSegment(bytes, PT_GNU_RELRO,
                         [](Elf64_Phdr& header) { header.p_memsz = 1ULL << 30; });
           }},
    Damage{"an unwind table outside the segments",
           [](ElfBytes& bytes) {
             EditSegment(bytes, PT_GNU_EH_FRAME,
                         [](Elf64_Phdr& header) { header.p_vaddr = kFarAway; });
           }},
    Damage{"notes outside the segments",
           [](ElfBytes& bytes) {
             EditSegment(bytes, PT_NOTE, [](Elf64_Phdr& header) { header.p_vaddr = kFarAway; });
           }},
    Damage{"no string table", [](ElfBytes& bytes) { bytes.RemoveDynamic(DT_STRTAB); }},
    Damage{"no symbol table", [](ElfBytes& bytes) { bytes.RemoveDynamic(DT_SYMTAB); }},
    Damage{"a string table outside the segments",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_STRTAB, kFarAway); }},
    Damage{"a symbol table outside the segments",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_SYMTAB, kFarAway); }},
    Damage{"a string table that is cut off within a string",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_STRSZ, bytes.Dynamic(DT_STRSZ) - 1); }},
    Damage{"an empty string table", [](ElfBytes& bytes) { bytes.SetDynamic(DT_STRSZ, 0); }},
    Damage{"the size of a symbol", [](ElfBytes& bytes) { bytes.SetDynamic(DT_SYMENT, 16); }},
    Damage{"the name of a needed library outside the string table",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_NEEDED, bytes.Dynamic(DT_STRSZ)); }},
    Damage{"the name of the library outside the string table",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_SONAME, 1 << 20); }},
    Damage{"a hash table outside the segments",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_HASH, kFarAway); }},
    Damage{"a hash table with too many buckets",
           [](ElfBytes& bytes) { bytes.Set(bytes.TableOf(DT_HASH), ~std::uint32_t{0}); }},
    Damage{"a hash table with too many symbols",
           [](ElfBytes& bytes) { bytes.Set(bytes.TableOf(DT_HASH) + 4, std::uint32_t{1} << 20); }},
    Damage{"a chain that loops",
           [](ElfBytes& bytes) {
             const std::size_t table = bytes.TableOf(DT_HASH);
             const auto buckets = bytes.Get<std::uint32_t>(table);
             for (std::uint32_t i = 0; i < buckets; ++i) {
               const auto symbol = bytes.Get<std::uint32_t>(table + 8 + 4ULL * i);
               if (symbol != 0) bytes.Set(table + 8 + 4ULL * (buckets + symbol), symbol);
             }
           }},
    Damage{"a chain that leaves the table",
           [](ElfBytes& bytes) {
             const std::size_t table = bytes.TableOf(DT_HASH);
             const auto buckets = bytes.Get<std::uint32_t>(table);
             for (std::uint32_t i = 0; i < buckets; ++i) {
               bytes.Set(table + 8 + 4ULL * i, bytes.Get<std::uint32_t>(table + 4));
             }
           }},
    Damage{"a GNU hash table without buckets",
           [](ElfBytes& bytes) { bytes.Set(bytes.TableOf(DT_GNU_HASH), std::uint32_t{0}); }},
    Damage{"a GNU hash table with three words of filter",
           [](ElfBytes& bytes) { bytes.Set(bytes.TableOf(DT_GNU_HASH) + 8, std::uint32_t{3}); }},
    Damage{"a GNU hash table that shifts too far",
           [](ElfBytes& bytes) { bytes.Set(bytes.TableOf(DT_GNU_HASH) + 12, std::uint32_t{32}); }},
    Damage{"a GNU hash table whose first symbol is past its buckets",
           [](ElfBytes& bytes) { bytes.Set(bytes.TableOf(DT_GNU_HASH) + 4, std::uint32_t{999}); }},
    Damage{"a GNU hash table that points past its chains",
           [](ElfBytes& bytes) {
             const std::size_t table = bytes.TableOf(DT_GNU_HASH);
             const auto filter = bytes.Get<std::uint32_t>(table + 8);
             bytes.Set(table + 16 + 8ULL * filter, std::uint32_t{1} << 30);
           }},
    Damage{"a symbol whose name is outside the string table",
           [](ElfBytes& bytes) {
             bytes.Set(bytes.TableOf(DT_SYMTAB) + sizeof(Elf64_Sym), std::uint32_t{1} << 24);
           }},
    Damage{"a symbol outside the segments",
           [](ElfBytes& bytes) {
             const std::size_t last =
                 bytes.TableOf(DT_SYMTAB) +
                 (bytes.Get<std::uint32_t>(bytes.TableOf(DT_HASH) + 4) - 1) * sizeof(Elf64_Sym);
             bytes.Edit<Elf64_Sym>(last, [](Elf64_Sym& symbol) {
               symbol.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
               symbol.st_value = kFarAway;
             });
           }},
    Damage{"an indirect function that is not code",
           [](ElfBytes& bytes) {
             const std::size_t table = bytes.TableOf(DT_SYMTAB);
             const auto count = bytes.Get<std::uint32_t>(bytes.TableOf(DT_HASH) + 4);
             for (std::uint32_t i = 1; i < count; ++i) {
               bytes.Edit<Elf64_Sym>(table + i * sizeof(Elf64_Sym), [](Elf64_Sym& symbol) {
                 if (ELF64_ST_TYPE(symbol.st_info) == STT_GNU_IFUNC) symbol.st_value = 8;
               });
             }
           }},
    Damage{"an import that binds to nothing",
           [](ElfBytes& bytes) {
             const std::size_t table = bytes.TableOf(DT_SYMTAB);
             const auto count = bytes.Get<std::uint32_t>(bytes.TableOf(DT_HASH) + 4);
             for (std::uint32_t i = 1; i < count; ++i) {
               bytes.Edit<Elf64_Sym>(table + i * sizeof(Elf64_Sym), [](Elf64_Sym& symbol) {
                 if (symbol.st_shndx == SHN_UNDEF) symbol.st_other = STV_HIDDEN;
               });
             }
           }},
    Damage{"the versions of symbols outside the segments",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_VERSYM, kFarAway); }},
    Damage{"no versions of symbols", [](ElfBytes& bytes) { bytes.RemoveDynamic(DT_VERSYM); }},
    Damage{"versions of symbols, but no versions",
           [](ElfBytes& bytes) { bytes.RemoveDynamic(DT_VERNEED); }},
    Damage{"a symbol with an unknown version",
           [](ElfBytes& bytes) { bytes.Set(bytes.TableOf(DT_VERSYM) + 2, std::uint16_t{0x7ffe}); }},
    Damage{"needed versions outside the segments",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_VERNEED, kFarAway); }},
    Damage{"needed versions of a library that is not needed",
           [](ElfBytes& bytes) {
             bytes.Edit<Elf64_Verneed>(bytes.TableOf(DT_VERNEED), [&](Elf64_Verneed& entry) {
               entry.vn_file = static_cast<Elf64_Word>(bytes.Dynamic(DT_SONAME));
             });
           }},
    Damage{"needed versions that lead out of the table",
           [](ElfBytes& bytes) {
             bytes.Edit<Elf64_Verneed>(bytes.TableOf(DT_VERNEED),
                                       [](Elf64_Verneed& entry) { entry.vn_next = 1U << 30; });
           }},
    Damage{
        "needed versions that end before the last",
        [](ElfBytes& bytes) { bytes.SetDynamic(DT_VERNEEDNUM, bytes.Dynamic(DT_VERNEEDNUM) + 1); }},
    Damage{"a definition in a version of another object",
           [](ElfBytes& bytes) {
             const std::size_t table = bytes.TableOf(DT_VERSYM);
             const auto count = bytes.Get<std::uint32_t>(bytes.TableOf(DT_HASH) + 4);
             for (std::uint32_t i = 1; i < count; ++i)
               bytes.Set(table + 2ULL * i, std::uint16_t{2});
           }},
    Damage{"relocations outside the segments",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_RELA, kFarAway); }},
    Damage{"relocations that end within an entry",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_RELASZ, bytes.Dynamic(DT_RELASZ) - 8); }},
    Damage{"relocations of no size", [](ElfBytes& bytes) { bytes.RemoveDynamic(DT_RELASZ); }},
    Damage{"the size of a relocation", [](ElfBytes& bytes) { bytes.SetDynamic(DT_RELAENT, 16); }},
    Damage{"relocations without a size each",
           [](ElfBytes& bytes) { bytes.RemoveDynamic(DT_RELAENT); }},
    Damage{"more relative relocations than relocations",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_RELACOUNT, 1 << 20); }},
    Damage{"a relocation of a symbol that does not exist",
           [](ElfBytes& bytes) {
             EditRelocation(bytes, DT_JMPREL, [](Elf64_Rela& entry) {
               entry.r_info = ELF64_R_INFO(1000000, ELF64_R_TYPE(entry.r_info));
             });
           }},
    Damage{"a relocation outside the segments",
           [](ElfBytes& bytes) {
             EditRelocation(bytes, DT_RELA, [](Elf64_Rela& entry) { entry.r_offset = kFarAway; });
           }},
    Damage{"a relocation of read-only memory",
           [](ElfBytes& bytes) {
             EditRelocation(bytes, DT_RELA, [](Elf64_Rela& entry) { entry.r_offset = 0x40; });
           }},
    Damage{"a relocation of the dynamic section",
           [](ElfBytes& bytes) {
             const auto dynamic = bytes.Get<Elf64_Phdr>(bytes.HeaderOf(PT_DYNAMIC)).p_vaddr;
             bytes.Edit<Elf64_Rela>(bytes.TableOf(DT_JMPREL),
                                    [&](Elf64_Rela& entry) { entry.r_offset = dynamic + 8; });
           }},
    Damage{"two relocations of one place",
           [](ElfBytes& bytes) {
             const std::size_t table = bytes.TableOf(DT_JMPREL);
             const auto first = bytes.Get<Elf64_Rela>(table);
             bytes.Edit<Elf64_Rela>(table + sizeof(Elf64_Rela),
                                    [&](Elf64_Rela& entry) { entry.r_offset = first.r_offset; });
           }},
    Damage{"a call through a slot that is not aligned",
           [](ElfBytes& bytes) {
             EditRelocation(bytes, DT_JMPREL, [](Elf64_Rela& entry) { entry.r_offset += 4; });
           }},
    Damage{"a call to somewhere near a symbol",
           [](ElfBytes& bytes) {
             EditRelocation(bytes, DT_JMPREL, [](Elf64_Rela& entry) { entry.r_addend = 1; });
           }},
    Damage{"empty relocations in place of those for imports",
           [](ElfBytes& bytes) {
             const std::size_t count = bytes.Dynamic(DT_RELASZ) / sizeof(Elf64_Rela);
             for (std::size_t i = 0; i < count; ++i) {
               bytes.Edit<Elf64_Rela>(bytes.TableOf(DT_RELA) + i * sizeof(Elf64_Rela),
                                      [](Elf64_Rela& entry) {
                                        if (ELF64_R_SYM(entry.r_info) != 0) entry = {};
                                      });
             }
           }},
    Damage{"calls that are relocated in an unknown way",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_PLTREL, DT_REL); }},
    Damage{"calls of no size", [](ElfBytes& bytes) { bytes.RemoveDynamic(DT_PLTRELSZ); }},
    Damage{"calls without a table for lazy binding",
           [](ElfBytes& bytes) { bytes.RemoveDynamic(DT_PLTGOT); }},
    Damage{"a table for lazy binding in read-only memory",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_PLTGOT, 0x40); }},
    Damage{"initializers outside the segments",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_INIT_ARRAY, kFarAway); }},
    Damage{"initializers of no size",
           [](ElfBytes& bytes) { bytes.RemoveDynamic(DT_INIT_ARRAYSZ); }},
    Damage{"an initializer that is not relocated",
           [](ElfBytes& bytes) {
             bytes.SetDynamic(DT_INIT_ARRAYSZ, bytes.Dynamic(DT_INIT_ARRAYSZ) + 8);
             bytes.SetDynamic(DT_INIT_ARRAY, bytes.Dynamic(DT_INIT_ARRAY) - 8);
           }},
    Damage{"finalizers outside the segments",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_FINI_ARRAY, kFarAway); }},
    Damage{"an initializer that is not code",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_INIT, 0x40); }},
    Damage{"a finalizer that is not code",
           [](ElfBytes& bytes) { bytes.SetDynamic(DT_FINI, kFarAway); }},
};

}  // namespace

TEST_CASE("tables that would lead the loader astray are refused") {
  const Workshop workshop;
  const ElfBytes original =
      Compiled(workshop,
               "-fno-builtin -fuse-ld=bfd -Wl,-soname,library.so,--hash-style=both,-z,lazy"
               ",-z,separate-code,--build-id=sha1");
  REQUIRE(Judge(original).reason == "");
  for (const Damage& damage : kDamages) {
    const std::string name = damage.name;
    CAPTURE(name);
    ElfBytes bytes = original;
    try {
      damage.apply(bytes);
    } catch (const std::out_of_range& error) {
      FAIL_CHECK("the library has nothing to damage: " << error.what());
      continue;
    }
    const Verdict verdict = Judge(bytes);
    CAPTURE(verdict.reason);
    CHECK(verdict.fault == Fault::kMalformed);
  }
}

TEST_CASE("a relocation of an initializer's slot to data is refused") {
  const Workshop workshop;
  ElfBytes bytes = Compiled(workshop, "-Wl,-z,nopack-relative-relocs");
  const std::uint64_t slot = bytes.Dynamic(DT_INIT_ARRAY);
  const std::size_t count = bytes.Dynamic(DT_RELASZ) / sizeof(Elf64_Rela);
  for (std::size_t i = 0; i < count; ++i) {
    bytes.Edit<Elf64_Rela>(bytes.TableOf(DT_RELA) + i * sizeof(Elf64_Rela), [&](Elf64_Rela& entry) {
      if (entry.r_offset == slot) entry.r_addend = 0x40;
    });
  }
  CHECK(Judge(bytes).fault == Fault::kMalformed);
}

TEST_CASE("a relocation of memory that the loader reads is refused, whichever entry it is") {
  const Workshop workshop;
  const ElfBytes original = Compiled(workshop, "-fuse-ld=bfd -Wl,-z,lazy,-z,nopack-relative-relocs",
                                     "int puts(const char*);\nstatic int data[4];\n"
                                     "int* pointers[] = {data, data + 1, data + 2, data + 3};\n"
                                     "int answer(void) { return puts(\"\"); }\n");
  const std::uint64_t table = original.TableOf(DT_RELA);
  const std::size_t count = original.Dynamic(DT_RELASZ) / sizeof(Elf64_Rela);
  REQUIRE(count > 4);
  const auto section = original.Get<Elf64_Phdr>(original.HeaderOf(PT_DYNAMIC));
  const std::uint64_t got = original.Dynamic(DT_PLTGOT);
  for (const std::uint64_t address : {section.p_vaddr, section.p_vaddr + section.p_memsz - 8,
                                      section.p_vaddr - 4, got, got + 16}) {
    for (std::size_t i = 0; i < count; ++i) {
      CAPTURE(i);
      CAPTURE(address);
      ElfBytes bytes = original;
      bytes.Edit<Elf64_Rela>(table + i * sizeof(Elf64_Rela),
                             [&](Elf64_Rela& entry) { entry.r_offset = address; });
      CHECK(Judge(bytes).reason.find("belongs to the loader") != std::string::npos);
    }
  }
}

TEST_CASE("a note that is longer than its segment is refused where the loader trusts it") {
  const Workshop workshop;
  ElfBytes bytes = Compiled(workshop, "", R"(
    __asm__(".pushsection .note.example, \"a\", %note\n.balign 8\n"
            ".long 4, 16, 5\n.asciz \"GNU\"\n.long 0xc0000002, 4, 3, 0\n.popsection");
    int answer(void) { return 42; }
  )");
  CHECK(Judge(bytes).reason == "");
  for (std::size_t i = 0; i < bytes.header().e_phnum; ++i) {
    const auto header = bytes.Get<Elf64_Phdr>(bytes.header().e_phoff + i * sizeof(Elf64_Phdr));
    if (header.p_type != PT_NOTE || header.p_align != 8) continue;
    bytes.Edit<Elf64_Nhdr>(header.p_offset, [](Elf64_Nhdr& note) { note.n_descsz = 0x70000000; });
  }
  CHECK(Judge(bytes).fault == Fault::kMalformed);
}

namespace {

// Parses the bytes, and reads all facts and symbols of an accepted file.
bool TouchesAll(std::span<const std::byte> bytes) {
  try {
    const ElfFile file = ElfFile::Parse(bytes, "library.so");
    std::size_t sum = file.UniqueSymbols().size();
    for (const auto& symbol : file.Exports()) sum += file.Defines(symbol.name) ? 1 : 0;
    for (const auto& symbol : file.Imports()) sum += file.Defines(symbol.name) ? 1 : 0;
    return sum > 0;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

TEST_CASE("no value of a header or a table does harm") {
  const Workshop workshop;
  const ElfBytes original = Compiled(workshop, "-Wl,--hash-style=both");
  const std::size_t tables = original.TableOf(DT_STRTAB);
  const auto dynamic = original.Get<Elf64_Phdr>(original.HeaderOf(PT_DYNAMIC));
  const std::array<std::uint64_t, 6> extremes{
      0, 1, ~std::uint64_t{0}, std::uint64_t{1} << 63, 0x7fffffff, original.size()};
  const auto damage = [&](std::size_t offset) {
    for (const std::uint64_t value : extremes) {
      ElfBytes bytes = original;
      bytes.Set(offset, value);
      TouchesAll(bytes.span());
      bytes = original;
      bytes.Set(offset, static_cast<std::uint32_t>(value));
      TouchesAll(bytes.span());
      bytes = original;
      bytes.Set(offset, static_cast<std::uint16_t>(value));
      TouchesAll(bytes.span());
    }
  };
  for (std::size_t offset = 0; offset < tables; offset += 2) damage(offset);
  for (std::size_t at = 0; at < dynamic.p_filesz; at += 8) damage(dynamic.p_offset + at);
  CHECK(TouchesAll(original.span()));
}

TEST_CASE("no single wrong byte does harm") {
  const Workshop workshop;
  ElfBytes bytes = Compiled(workshop, "-s -Wl,-z,noseparate-code");
  for (std::size_t offset = 0; offset < bytes.size(); ++offset) {
    const auto right = bytes.Get<unsigned char>(offset);
    for (const int change : {0x01, 0x80, 0xff}) {
      bytes.Set(offset, static_cast<unsigned char>(right ^ change));
      TouchesAll(bytes.span());
    }
    bytes.Set(offset, right);
  }
  CHECK(Judge(bytes).reason == "");
}
