#include "core/bind/loader_functions.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "core/base/path.h"
#include "core/elf/string_tokens.h"
#include "core/image/known_image.h"
#include "core/loader/dl.h"
#include "core/resolve/library_search.h"
#include "core/resolve/search_path.h"
#include "core/tracking/tracking.h"

namespace soswap {
namespace {

#ifdef __GLIBC__

using PhdrCallback = int (*)(dl_phdr_info* info, size_t size, void* data);

const char* PathOr(const char* loader_name) noexcept {
  const ImageIdentity* image = FindKnownImage(loader_name);
  return image != nullptr ? image->path.c_str() : loader_name;
}

int FindAddress(const void* address, Dl_info* info) {
  const int found = dladdr(address, info);
  if (found != 0) info->dli_fname = PathOr(info->dli_fname);
  return found;
}

int FindAddressAndMore(const void* address, Dl_info* info, void** extra, int flags) {
  const int found = dladdr1(address, info, extra, flags);
  if (found == 0) return found;
  info->dli_fname = PathOr(info->dli_fname);
  if (flags == RTLD_DL_LINKMAP) *extra = AsOfFile(static_cast<link_map*>(*extra));
  return found;
}

int AskAboutHandle(void* handle, int request, void* answer) {
  link_map* map = nullptr;
  if (request == RTLD_DI_ORIGIN && dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0) {
    const ImageIdentity* image = FindKnownImage(map->l_name);
    if (image != nullptr && image->path.starts_with('/')) {
      // As OriginOf(), but without memory, which could be short.
      const size_t size = std::max<size_t>(image->path.rfind('/'), 1);
      std::memcpy(answer, image->path.data(), size);
      static_cast<char*>(answer)[size] = '\0';
      return 0;
    }
  }
  const int failed = dlinfo(handle, request, answer);
  if (failed == 0 && request == RTLD_DI_LINKMAP) {
    auto* found = static_cast<link_map**>(answer);
    *found = AsOfFile(*found);
  }
  return failed;
}

// dl_iterate_phdr(3) fills `info` anew for each object.
int IterateObjects(PhdrCallback callback, void* data) {
  struct Call {
    PhdrCallback callback;
    void* data;
  } call{callback, data};
  return dl_iterate_phdr(
      [](dl_phdr_info* info, size_t size, void* passed) {
        info->dlpi_name = PathOr(info->dlpi_name);
        const auto* inner = static_cast<const Call*>(passed);
        return inner->callback(info, size, inner->data);
      },
      &call);
}

// Whether the loader takes an object that it has for this bare name, before it searches.
bool IsLoadedAs(const std::string& name) {
  return LoaderHandle(dlopen(name.c_str(), RTLD_LAZY | RTLD_NOLOAD)) != nullptr;
}

// Where the loader would search first for the library that was loaded from the file (ld.so(8)).
// DT_RUNPATH puts DT_RPATH of all objects out of force.
std::vector<std::string> DirectoriesOf(const ImageIdentity& image) {
  const LoaderPaths& paths = GetLoaderPaths();
  auto own = ExpandSearchPath(image.search_path, OriginOf(image.path));
  if (!image.path_is_inherited) {
    own.insert(own.begin(), paths.environment.begin(), paths.environment.end());
    return own;
  }
  own.insert(own.end(), paths.program_rpath.begin(), paths.program_rpath.end());
  own.insert(own.end(), paths.environment.begin(), paths.environment.end());
  return own;
}

// What dlopen(3) must be asked for.
struct Wanted {
  std::string name;
  bool caller = false;  // it is the image that calls
};

Wanted FindWanted(const ImageIdentity& caller, const char* caller_name, const std::string& file) {
  if (file.find('/') == std::string::npos) {
    if (file == caller.soname) return {caller_name, true};
    if (caller.search_path.empty() || IsLoadedAs(file)) return {file};
    auto found = SearchLibrary(file, DirectoriesOf(caller)).path;
    if (!found) return {file};
    if (IsSameFile(*found, caller.path)) return {caller_name, true};
    return {*std::move(found)};
  }
  std::string path = ReplaceOrigin(file, OriginOf(caller.path));
  if (path == caller.path || IsSameFile(path, caller.path)) return {caller_name, true};
  return {std::move(path)};
}

// What the object of this name wants, nothing if it is to be left to the loader.
std::optional<Wanted> WantedBy(const char* loader_name, const char* file) {
  if (file == nullptr || *file == '\0') return std::nullopt;
  const ImageIdentity* caller = FindKnownImage(loader_name);
  if (caller == nullptr) return std::nullopt;
  try {
    return FindWanted(*caller, loader_name, file);
  } catch (const std::exception&) {
    return std::nullopt;  // no memory: the loader will say so
  }
}

void* OpenInNamespaceFor(const char* caller, Lmid_t space, const char* file, int mode) {
  const auto wanted = WantedBy(caller, file);
  if (wanted && wanted->caller && space == LM_ID_BASE) {
    // Without RTLD_NOLOAD it would be the same: the loader compares names first.
    void* handle = dlopen(wanted->name.c_str(), mode | RTLD_NOLOAD);
    if (handle != nullptr) MarkOpenedItself(wanted->name.c_str());
    return handle;
  }
  const char* name = wanted && !wanted->caller ? wanted->name.c_str() : file;
  return space == LM_ID_BASE ? dlopen(name, mode) : dlmopen(space, name, mode);
}

void* OpenFor(const char* caller, const char* file, int mode) {
  return OpenInNamespaceFor(caller, LM_ID_BASE, file, mode);
}

// Where images have no code of their own (core/tracking/thunks.h), the address that the call
// returns to shows the caller, but not of a tail call.
const char* ObjectAt(const void* code) noexcept {
  Dl_info info{};
  return dladdr(code, &info) != 0 ? info.dli_fname : nullptr;
}

// Never inlined, and no tail call: the return address is that of the image's call.
[[gnu::noinline]] void* Open(const char* file, int mode) {
  const void* code = __builtin_extract_return_addr(__builtin_return_address(0));
  return OpenFor(ObjectAt(code), file, mode);
}

[[gnu::noinline]] void* OpenInNamespace(Lmid_t space, const char* file, int mode) {
  const void* code = __builtin_extract_return_addr(__builtin_return_address(0));
  return OpenInNamespaceFor(ObjectAt(code), space, file, mode);
}

template <typename Function>
uintptr_t AddressOf(Function* function) {
  return reinterpret_cast<uintptr_t>(function);
}

#endif

}  // namespace

const BoundImports& LoaderFunctions() {
#ifdef __GLIBC__
  static const OpenFunctions open{OpenFor, OpenInNamespaceFor};
  SetOpenFunctions(open);
  static const auto* functions = new BoundImports({{"dladdr", AddressOf(FindAddress)},
                                                   {"dladdr1", AddressOf(FindAddressAndMore)},
                                                   {"dlinfo", AddressOf(AskAboutHandle)},
                                                   {"dl_iterate_phdr", AddressOf(IterateObjects)},
                                                   {"dlopen", AddressOf(Open)},
                                                   {"dlmopen", AddressOf(OpenInNamespace)}});
#else
  static const auto* functions = new BoundImports({});
#endif
  return *functions;
}

}  // namespace soswap
