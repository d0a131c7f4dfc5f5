#include "core/resolve/c_library.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <vector>

#include "core/base/path.h"
#include "core/loader/loaded_objects.h"

namespace soswap {
namespace {

constexpr std::string_view kPrefix = "GLIBC_";
// Of what the parts define for one another, in a way that fits one build only.
constexpr std::string_view kPrivate = "GLIBC_PRIVATE";

// The directory of the file behind all symbolic links; empty if there is none.
std::string RealDirectory(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr),
                                                         &std::free);
  if (real == nullptr) return {};
  std::string directory(real.get());
  directory.erase(directory.rfind('/'));
  return directory;
}

std::string DirectoryOfCLibrary() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&dl_iterate_phdr), &info) == 0) return {};
  return RealDirectory(info.dli_fname);
}

// The loader's name for what is loaded under the SONAME of the file; empty for nothing.
std::string LoadedName(const ElfFile& elf) {
  const auto& soname = elf.facts().soname;
  if (!soname) return {};
  const LoadedObjects objects = LoadedObjects::List();
  const LoadedObject* object = objects.Find(*soname);
  return object == nullptr ? std::string() : object->name;
}

}  // namespace

CLibraryPart CLibraryPartOf(const ElfFile& elf, const std::string& path) {
  const std::vector<std::string_view> versions = elf.symbols().versions().Defined();
  if (versions.empty() || !std::all_of(versions.begin(), versions.end(), [](const auto& version) {
        return version.starts_with(kPrefix);
      })) {
    return CLibraryPart::kNone;
  }
  const std::string loaded = LoadedName(elf);
  if (!loaded.empty() && IsSameFile(loaded, path)) return CLibraryPart::kOwn;
  const std::string directory = RealDirectory(path);
  if (!directory.empty() && directory == DirectoryOfCLibrary()) return CLibraryPart::kOwn;
  const bool is_core = std::find(versions.begin(), versions.end(), kPrivate) != versions.end();
  return is_core ? CLibraryPart::kForeign : CLibraryPart::kNone;
}

std::string LoadedNameOfPart(const ElfFile& elf, const std::string& path) {
  std::string loaded = LoadedName(elf);
  return loaded.empty() ? path : loaded;
}

}  // namespace soswap
