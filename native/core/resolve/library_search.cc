#include "core/resolve/library_search.h"

#include <elf.h>
#include <link.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "core/base/error.h"
#include "core/base/file_descriptor.h"
#include "core/base/glibc.h"
#include "core/base/loader_name.h"
#include "core/base/path.h"
#include "core/copy/source_file.h"
#include "core/elf/machine.h"
#include "core/loader/dl.h"
#include "core/loader/stub_object.h"
#include "core/resolve/loader_cache.h"

namespace soswap {
namespace {

using Directories = std::vector<std::string>;

#if defined(__GLIBC__)

constexpr const char* kCachePath = "/etc/ld.so.cache";

// glibc 2.33 was the first to look into glibc-hwcaps.
bool LoaderKnowsSubdirectories() {
  constexpr unsigned kFirst = 33;
  return GlibcMinor().value_or(kFirst) >= kFirst;
}

#if defined(__x86_64__)

constexpr uint32_t Bits(std::initializer_list<int> numbers) {
  uint32_t bits = 0;
  for (const int number : numbers) bits |= uint32_t{1} << number;
  return bits;
}

// The levels of the x86-64 psABI, section "Micro-Architecture Levels", as CPUID reports their
// parts.
struct ProcessorLevel {
  const char* name;
  uint32_t leaf1_ecx;
  uint32_t leaf7_ebx;
  uint32_t extended_ecx;
  uint32_t enabled_state;  // XCR0: register sets that the kernel saves
};

constexpr uint32_t kLeaf1ForV2 = Bits({0, 9, 13, 19, 20, 23});
constexpr uint32_t kLeaf1ForV3 = kLeaf1ForV2 | Bits({12, 22, 27, 28, 29});
constexpr uint32_t kLeaf7ForV3 = Bits({3, 5, 8});
constexpr std::array<ProcessorLevel, 3> kProcessorLevels{{
    {"x86-64-v4", kLeaf1ForV3, kLeaf7ForV3 | Bits({16, 17, 28, 30, 31}), Bits({0, 5}),
     Bits({1, 2, 5, 6, 7})},
    {"x86-64-v3", kLeaf1ForV3, kLeaf7ForV3, Bits({0, 5}), Bits({1, 2})},
    {"x86-64-v2", kLeaf1ForV2, 0, Bits({0}), 0},
}};

uint32_t EnabledState(uint32_t leaf1_ecx) {
  if ((leaf1_ecx & bit_OSXSAVE) == 0) return 0;
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

Directories ReadProcessorLevels() {
  uint32_t eax = 0;
  uint32_t ebx = 0;
  uint32_t edx = 0;
  uint32_t leaf1_ecx = 0;
  uint32_t leaf7_ebx = 0;
  uint32_t extended_ecx = 0;
  uint32_t ecx = 0;
  __get_cpuid(1, &eax, &ebx, &leaf1_ecx, &edx);
  __get_cpuid_count(7, 0, &eax, &leaf7_ebx, &ecx, &edx);
  __get_cpuid(0x80000001, &eax, &ebx, &extended_ecx, &edx);
  const uint32_t state = EnabledState(leaf1_ecx);
  Directories names;
  for (const ProcessorLevel& level : kProcessorLevels) {
    if ((level.leaf1_ecx & ~leaf1_ecx) == 0 && (level.leaf7_ebx & ~leaf7_ebx) == 0 &&
        (level.extended_ecx & ~extended_ecx) == 0 && (level.enabled_state & ~state) == 0) {
      names.emplace_back(level.name);
    }
  }
  return names;
}

#else

Directories ReadProcessorLevels() { return {}; }

#endif

// Best first. Never destroyed, like all facts about the process here: threads may still run while
// the process exits.
const Directories& ProcessorLevels() {
  static const auto* levels =
      new Directories(LoaderKnowsSubdirectories() ? ReadProcessorLevels() : Directories());
  return *levels;
}

Directories SearchDirectoriesOf(void* handle) {
  Dl_serinfo size{};
  if (dlinfo(handle, RTLD_DI_SERINFOSIZE, &size) != 0) return {};
  // In units that have the alignment of the loader's structures.
  std::vector<std::max_align_t> buffer(size.dls_size / sizeof(std::max_align_t) + 1);
  auto* info = reinterpret_cast<Dl_serinfo*>(buffer.data());
  info->dls_size = size.dls_size;
  info->dls_cnt = size.dls_cnt;
  if (dlinfo(handle, RTLD_DI_SERINFO, info) != 0) return {};
  const auto* first = &info->dls_serpath[0];
  Directories directories;
  for (unsigned i = 0; i < info->dls_cnt; ++i) directories.emplace_back(first[i].dls_name);
  return directories;
}

// The loader's list of directories does not show the origin of each. So this reads the list of an
// object with a known RUNPATH: LD_LIBRARY_PATH comes before it, the standard directories after it.
void ReadSharedPaths(LoaderPaths& paths) {
  const std::string marker = "/proc/self/fdinfo";
  const std::string lib = marker + "/lib=";
  const std::string platform = marker + "/platform=";
  const StubObject stub({.needed = {},
                         .soname = {},
                         .filter = {},
                         .search_path = marker + ":" + lib + "$LIB:" + platform + "$PLATFORM"},
                        RTLD_LAZY | RTLD_LOCAL);
  if (!stub.loaded()) return;
  bool before = true;
  for (std::string& directory : SearchDirectoriesOf(stub.handle())) {
    if (before && directory == marker) {
      before = false;
    } else if (directory.starts_with(lib)) {
      paths.lib = directory.substr(lib.size());
    } else if (directory.starts_with(platform)) {
      paths.platform = directory.substr(platform.size());
    } else {
      (before ? paths.environment : paths.standard).push_back(std::move(directory));
    }
  }
}

bool HasEntry(const ElfW(Dyn) * dynamic, ElfW(Sxword) tag) {
  for (; dynamic->d_tag != DT_NULL; ++dynamic) {
    if (dynamic->d_tag == tag) return true;
  }
  return false;
}

// Without the shared directories, the program's own list is its DT_RUNPATH, which comes after
// LD_LIBRARY_PATH, or its DT_RPATH, which comes before it.
void SplitProgramPath(const Directories& all, const ElfW(Dyn) * dynamic, LoaderPaths& paths) {
  const size_t shared = paths.environment.size() + paths.standard.size();
  if (all.size() <= shared) return;
  const auto own = static_cast<std::ptrdiff_t>(all.size() - shared);
  if (HasEntry(dynamic, DT_RUNPATH)) {
    const auto end = all.end() - static_cast<std::ptrdiff_t>(paths.standard.size());
    paths.program_runpath.assign(end - own, end);
  } else if (HasEntry(dynamic, DT_RPATH)) {
    paths.program_rpath.assign(all.begin(), all.begin() + own);
  }
}

void ReadProgramPath(LoaderPaths& paths) {
  const LoaderHandle program(dlopen(nullptr, RTLD_LAZY));
  if (program == nullptr) return;
  link_map* map = nullptr;
  if (dlinfo(program.get(), RTLD_DI_LINKMAP, &map) == 0 && map->l_ld != nullptr) {
    SplitProgramPath(SearchDirectoriesOf(program.get()), map->l_ld, paths);
  }
}

LoaderPaths ReadLoaderPaths() {
  LoaderPaths paths;
  ReadSharedPaths(paths);
  ReadProgramPath(paths);
  return paths;
}

// Like the loader, reads the cache for each search: ldconfig may have run.
std::vector<std::byte> ReadCache() {
  try {
    const FileDescriptor file = OpenForReading(kCachePath);
    std::vector<std::byte> bytes(Identify(file.get(), kCachePath).size);
    bytes.resize(ReadAt(file.get(), bytes.data(), bytes.size(), 0, kCachePath));
    return bytes;
  } catch (const Error&) {
    return {};
  }
}

#else

constexpr const char* kCachePath = nullptr;

const Directories& ProcessorLevels() {
  static const auto* none = new Directories;
  return *none;
}

Directories Split(const std::string& text) {
  Directories parts;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find_first_of(":\n", start), text.size());
    if (end > start) parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

std::string ReadAll(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string InitialLibraryPath() {
  constexpr std::string_view kName = "LD_LIBRARY_PATH=";
  const std::string environment = ReadAll("/proc/self/environ");
  for (size_t start = 0; start < environment.size();) {
    const std::string entry(environment.c_str() + start);
    if (entry.starts_with(kName)) return entry.substr(kName.size());
    start += entry.size() + 1;
  }
  return {};
}

// musl (ldso/dynlink.c in its documentation: LD_LIBRARY_PATH, then the path file or its default).
LoaderPaths ReadLoaderPaths() {
#if defined(__x86_64__)
  std::string standard = ReadAll("/etc/ld-musl-x86_64.path");
#else
  std::string standard = ReadAll("/etc/ld-musl-aarch64.path");
#endif
  if (standard.empty()) standard = "/lib:/usr/local/lib:/usr/lib";
  LoaderPaths paths;
  paths.environment = Split(InitialLibraryPath());
  paths.standard = Split(standard);
  return paths;
}

std::vector<std::byte> ReadCache() { return {}; }

#endif

std::string Absolute(const std::string& directory) {
  if (directory.starts_with('/')) return directory;
  std::string current = CurrentDirectory();
  if (current.empty()) return directory;
  return directory.empty() || directory == "." ? current : std::move(current) + "/" + directory;
}

// Measured: the loader skips a file that it cannot open, and an ELF file of another word size or
// machine. At any other file it stops, and reports the defect of the file if it has one.
bool LoaderStopsAt(const std::string& path) {
  const FileDescriptor file = TryOpenForReading(path);
  if (!file.valid()) return false;
  Elf64_Ehdr header{};
  if (read(file.get(), &header, sizeof(header)) != static_cast<ssize_t>(sizeof(header)) ||
      std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return true;
  }
  if (header.e_ident[EI_CLASS] != ELFCLASS64) return false;
  return header.e_ident[EI_DATA] != elf::kOwnByteOrder || header.e_machine == elf::kOwnMachine;
}

std::optional<std::string> FindIn(const std::string& directory, const std::string& name) {
  const std::string prefix = Absolute(directory) + "/";
  for (const std::string& level : ProcessorLevels()) {
    std::string path = prefix + "glibc-hwcaps/" + level + "/" + name;
    if (LoaderStopsAt(path)) return path;
  }
  std::string path = prefix + name;
  if (LoaderStopsAt(path)) return path;
  return std::nullopt;
}

bool FindInDirectories(std::span<const std::string> directories, const std::string& name,
                       Lookup& lookup) {
  for (const std::string& directory : directories) {
    lookup.looked_in.push_back(Absolute(directory));
    lookup.path = FindIn(directory, name);
    if (lookup.path) return true;
  }
  return false;
}

bool FindInCache(const std::string& name, Lookup& lookup) {
  if (kCachePath == nullptr) return false;
  lookup.looked_in.emplace_back(kCachePath);
  auto path = FindInLoaderCache(ReadCache(), name, ProcessorLevels());
  if (path && LoaderStopsAt(*path)) lookup.path = std::move(path);
  return lookup.path.has_value();
}

// The file of a loaded object with this name. A snapshot has no file, and a relative name belongs
// to a current directory that may have changed: for both, the search decides.
std::optional<std::string> FindLoaded(const std::string& name) {
  const LoaderHandle handle(dlopen(name.c_str(), RTLD_LAZY | RTLD_NOLOAD));
  if (handle == nullptr) return std::nullopt;
  link_map* map = nullptr;
  std::string path;
  if (dlinfo(handle.get(), RTLD_DI_LINKMAP, &map) == 0) path = map->l_name;
  if (!path.starts_with('/') || IsLoaderNameOfDescriptor(path) || !LoaderStopsAt(path)) {
    return std::nullopt;
  }
  return path;
}

}  // namespace

const LoaderPaths& GetLoaderPaths() {
  // No static initialisation: it would hold a lock while it waits for the loader's, and who has the
  // loader's, in a constructor of a library, may ask here.
  static std::atomic<const LoaderPaths*> known{nullptr};
  if (const LoaderPaths* paths = known.load(std::memory_order_acquire)) return *paths;
  auto paths = std::make_unique<const LoaderPaths>(ReadLoaderPaths());
  const LoaderPaths* first = nullptr;
  if (!known.compare_exchange_strong(first, paths.get(), std::memory_order_acq_rel)) return *first;
  return *paths.release();
}

Lookup SearchDirectories(const std::string& name, std::span<const std::string> directories) {
  Lookup lookup;
  FindInDirectories(directories, name, lookup);
  return lookup;
}

Lookup SearchLibrary(const std::string& name, std::span<const std::string> directories) {
  Lookup lookup;
  if (name.empty()) return lookup;
  if (!FindInDirectories(directories, name, lookup) && !FindInCache(name, lookup)) {
    FindInDirectories(GetLoaderPaths().standard, name, lookup);
  }
  return lookup;
}

std::string FindLibrary(const std::string& name) {
  Lookup lookup;
  if (!name.empty()) {
    if (auto path = FindLoaded(name)) return *std::move(path);
    const LoaderPaths& paths = GetLoaderPaths();
    Directories directories = paths.program_rpath;
    directories.insert(directories.end(), paths.environment.begin(), paths.environment.end());
    directories.insert(directories.end(), paths.program_runpath.begin(),
                       paths.program_runpath.end());
    lookup = SearchLibrary(name, directories);
    if (lookup.path) return *std::move(lookup.path);
  }
  throw Error(Fault::kNotFound, "find", name, DescribeSearch(lookup.looked_in));
}

std::string DescribeSearch(std::span<const std::string> looked_in) {
  if (looked_in.empty()) return "no directory was searched";
  std::string text = "looked in ";
  for (const std::string& place : looked_in) {
    if (&place != looked_in.data()) text += ", ";
    text += place;
  }
  return text;
}

}  // namespace soswap
