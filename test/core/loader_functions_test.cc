#include "core/bind/loader_functions.h"

#include <doctest/doctest.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/copy/copy_plan.h"
#include "core/image/image.h"
#include "core/resolve/inspected_snapshot.h"
#include "small_libraries.h"

using soswap::CopyPlan;
using soswap::Image;
using soswap::ImageOrigin;
using soswap::TakeSnapshot;
using soswap::test::Workshop;

namespace {

// An image that is another thread's: its close waits for the loader for as long as that takes.
constexpr pid_t kNoThread = -1;

std::shared_ptr<Image> Load(const std::string& path, int mode = RTLD_NOW, pid_t thread = 0) {
  CopyPlan plan;
  plan.edits.push_back(BindImports(soswap::LoaderFunctions()));
  const auto taken = TakeSnapshot(path, path, plan);
  ImageOrigin origin;
  origin.path = path;
  origin.thread = thread;
  origin.unload = taken->unload;
  return Image::Open(std::move(origin), taken, mode);
}

std::string Text(const Image& image, const char* name) {
  const char* text = reinterpret_cast<const char* (*)()>(image.Symbol(name).value())();
  return text != nullptr ? text : "(null)";
}

// Its constructor asks already.
const std::string kSource = R"(
  #define _GNU_SOURCE
  #include <dlfcn.h>
  #include <link.h>
  #include <string.h>
  #include <unistd.h>
  static Dl_info info, early;
  static struct link_map* map;
  static char origin[4096], name_of_map[4096];
  __attribute__((constructor)) static void begin(void) { dladdr(&info, &early); }
  const char* by_constructor(void) { return early.dli_fname; }
  const char* by_dladdr(void) { dladdr(&info, &info); return info.dli_fname; }
  const char* libc_by_dladdr(void) { dladdr((void*)getppid, &info); return info.dli_fname; }
  const char* by_dladdr1(void) {
    if (!dladdr1(&info, &info, (void**)&map, RTLD_DL_LINKMAP)) return 0;
    return strcmp(info.dli_fname, map->l_name) == 0 ? map->l_name : "two names";
  }
  static int visit(struct dl_phdr_info* object, size_t size, void* data) {
    const char* at = (const char*)&info;
    for (int i = 0; i < object->dlpi_phnum; ++i) {
      const char* start = (const char*)object->dlpi_addr + object->dlpi_phdr[i].p_vaddr;
      if (object->dlpi_phdr[i].p_type != PT_LOAD || at < start ||
          at >= start + object->dlpi_phdr[i].p_memsz) continue;
      *(const char**)data = object->dlpi_name;
      return size == sizeof(*object) ? 7 : 8;
    }
    return 0;
  }
  const char* by_phdr(void) {
    const char* name = 0;
    return dl_iterate_phdr(visit, &name) == 7 ? name : 0;
  }
  static const char* ask(const char* name, int mode) {
    void* handle = dlopen(name, mode);
    if (!handle) return 0;
    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0) return "no map";
    strcpy(name_of_map, map->l_name);
    if (dlinfo(handle, RTLD_DI_ORIGIN, origin) != 0) return "no origin";
    dlclose(handle);
    return name_of_map;
  }
  const char* by_path(void) { dladdr(&info, &info); return ask(info.dli_fname, RTLD_NOW); }
  const char* by_path_loaded(void) {
    dladdr(&info, &info);
    return ask(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  }
  const char* by_soname(void) { return ask("libself.so.1", RTLD_NOW); }
  const char* by_own_name(void) { return ask("self.so", RTLD_NOW); }
  const char* by_token(void) { return ask("$ORIGIN/self.so", RTLD_NOW); }
  const char* origin_of_self(void) { by_path(); return origin; }
  const char* beside(void) { return ask("libbeside.so", RTLD_NOW); }
  const char* beside_loaded(void) { return ask("libbeside.so", RTLD_NOW | RTLD_NOLOAD); }
  const char* beside_in_base(void) {
    void* handle = dlmopen(LM_ID_BASE, "libbeside.so", RTLD_NOW);
    const char* text = beside_loaded();
    if (handle) dlclose(handle);
    return text;
  }
  const char* nowhere(void) { return ask("libnowhere.so", RTLD_NOW) ? "found" : dlerror(); }
  const char* nowhere_by_path(void) { return ask("/nowhere/lib.so", RTLD_NOW) ? "found" : dlerror(); }
  const char* program(void) { return dlopen(0, RTLD_NOW) ? "program" : 0; }
  const char* keep_self(void) { dladdr(&info, &info); return dlopen(info.dli_fname, RTLD_NOW) ? "kept" : 0; }
)";

const std::string kFlags = "-Wl,-rpath,'$ORIGIN' -Wl,-soname,libself.so.1 -ldl";

}  // namespace

TEST_CASE("loader functions: a library finds its own path") {
  const Workshop workshop;
  const std::string path = workshop.Compile("self.so", kSource, kFlags);
  for (int generation = 1; generation <= 2; ++generation) {
    const auto image = Load(path, generation == 1 ? RTLD_NOW : RTLD_LAZY);
    for (const char* way : {"by_constructor", "by_dladdr", "by_dladdr1", "by_phdr", "by_path",
                            "by_path_loaded", "by_soname", "by_own_name", "by_token"}) {
      INFO(way);
      CHECK(Text(*image, way) == path);
    }
    CHECK(Text(*image, "origin_of_self") == workshop.path());
    CHECK(Text(*image, "libc_by_dladdr").find("libc") != std::string::npos);
    CHECK(Text(*image, "program") == "program");
    CHECK(image->Close().empty());
  }
}

TEST_CASE("loader functions: a path is kept for whoever has it") {
  const Workshop workshop;
  const std::string path = workshop.Compile("self.so", kSource, kFlags);
  auto image = Load(path);
  const char* kept = reinterpret_cast<const char* (*)()>(image->Symbol("by_dladdr").value())();
  const auto second = Load(path);
  CHECK(reinterpret_cast<const char* (*)()>(second->Symbol("by_dladdr").value())() == kept);
  image->Close();
  image.reset();
  CHECK(kept == path);
}

TEST_CASE("loader functions: a bare name is searched for where the library says") {
  const Workshop workshop;
  for (const std::string flags : {"-Wl,--enable-new-dtags ", "-Wl,--disable-new-dtags "}) {
    INFO(flags);
    const std::string path = workshop.Compile("self.so", kSource, flags + kFlags);
    const std::string beside = workshop.Compile("libbeside.so", "int beside(void) { return 1; }");
    const auto image = Load(path);
    CHECK(Text(*image, "beside_loaded") == "(null)");
    CHECK(Text(*image, "beside") == beside);
    CHECK(Text(*image, "beside_in_base") == beside);
    CHECK(Text(*image, "beside_loaded") == "(null)");
    std::filesystem::remove(beside);
    CHECK(Text(*image, "beside") == "(null)");
    CHECK(Text(*image, "nowhere").find("libnowhere.so: cannot open") != std::string::npos);
    CHECK(Text(*image, "nowhere_by_path").find("/nowhere/lib.so: cannot open") !=
          std::string::npos);
  }
}

TEST_CASE("loader functions: RTLD_NOLOAD finds what is loaded") {
  const Workshop workshop;
  const std::string path = workshop.Compile("self.so", kSource, kFlags);
  const std::string beside = workshop.Compile("libbeside.so", "int beside(void) { return 1; }");
  void* handle = dlopen(beside.c_str(), RTLD_NOW);
  REQUIRE(handle != nullptr);
  CHECK(Text(*Load(path), "beside_loaded") == beside);
  dlclose(handle);
}

TEST_CASE("loader functions: an image that opened itself is kept, and the reason says so") {
  const Workshop workshop;
  const std::string path = workshop.Compile("self.so", kSource, kFlags);
  const auto image = Load(path);
  CHECK(Text(*image, "keep_self") == "kept");
  const auto reasons = image->Close();
  REQUIRE(reasons.size() == 1);
  CHECK(reasons[0].detail ==
        "it opened itself with dlopen(3), and may not have closed that handle");
}

TEST_CASE("loader functions: a replaced file is not taken for the image that runs") {
  const Workshop workshop;
  const std::string path = workshop.Compile("self.so", kSource, kFlags);
  const auto image = Load(path);
  workshop.Compile("self.so", "int other(void) { return 1; }");
  for (const char* way : {"by_dladdr", "by_path", "by_soname", "by_own_name"}) {
    INFO(way);
    CHECK(Text(*image, way) == path);
  }
}

TEST_CASE("loader functions: constructors and destructors open themselves and what lies beside") {
  const Workshop workshop;
  const std::string path = workshop.Compile("self.so", R"(
    #define _GNU_SOURCE
    #include <dlfcn.h>
    static int good;
    static void open_all(void) {
      Dl_info info;
      good = 0;
      const char* names[] = {0, "self.so", "libbeside.so"};
      if (dladdr(&good, &info)) names[0] = info.dli_fname;
      for (int i = 0; i < 3; ++i) {
        void* handle = dlopen(names[i], RTLD_NOW);
        if (handle && dlsym(handle, i < 2 ? "score" : "beside")) ++good;
        if (handle) dlclose(handle);
      }
    }
    int *at_the_end;
    __attribute__((constructor)) static void begin(void) { open_all(); }
    __attribute__((destructor)) static void end(void) { open_all(); *at_the_end += good; }
    int score(void) { return good; }
    void set(int* target) { at_the_end = target; }
  )",
                                            "-Wl,-rpath,'$ORIGIN' -ldl");
  workshop.Compile("libbeside.so", "int beside(void) { return 1; }");
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int number = 0; number < 3; ++number) {
    threads.emplace_back([&] {
      for (int round = 0; round < 10; ++round) {
        int at_the_end = 0;
        const auto image = Load(path, RTLD_NOW, kNoThread);
        reinterpret_cast<void (*)(int*)>(image->Symbol("set").value())(&at_the_end);
        const int score = reinterpret_cast<int (*)()>(image->Symbol("score").value())();
        if (score != 3 || !image->Close().empty() || at_the_end < 1) ++wrong;
        soswap::LoadedImages();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("loader functions: threads ask while images come and go") {
  const Workshop workshop;
  const std::string path = workshop.Compile("self.so", kSource, kFlags);
  workshop.Compile("libbeside.so", "int beside(void) { return 1; }");
  const auto stays = Load(path);
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int number = 0; number < 2; ++number) {
    threads.emplace_back([&] {
      const auto ask = reinterpret_cast<const char* (*)()>(stays->Symbol("by_constructor").value());
      const auto phdr = reinterpret_cast<const char* (*)()>(stays->Symbol("by_phdr").value());
      while (!done) {
        if (ask() != path || phdr() != path) ++wrong;
      }
    });
  }
  for (int round = 0; round < 30; ++round) {
    const auto image = Load(path);
    if (Text(*image, "by_path") != path || Text(*image, "beside") == "(null)") ++wrong;
    soswap::LoadedImages();
    if (!image->Close().empty()) ++wrong;
  }
  done = true;
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
}
