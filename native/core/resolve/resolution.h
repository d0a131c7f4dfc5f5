#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/elf/file.h"
#include "core/loader/dl.h"
#include "core/loader/loaded_objects.h"
#include "core/loader/unload.h"
#include "core/resolve/dependency_file.h"
#include "core/resolve/provided.h"

namespace soswap {

// A dependency that the loader would not find, or would refuse.
struct MissingDependency {
  std::string name;                    // as DT_NEEDED has it
  std::string needed_by;               // the file that has it
  std::vector<std::string> looked_in;  // the places that were searched
  std::string defect;                  // of the file that was found; empty if none was
};

// A dependency that the loader finds.
struct FoundDependency {
  std::string name;       // as DT_NEEDED has it
  std::string needed_by;  // the file that has it
  std::string path;       // of the file, or the loader's name of the loaded object
  bool loaded = false;    // already in the process
};

// A symbol that no object defines.
struct UndefinedSymbol {
  std::string name;
  std::string version;    // empty: any version
  std::string needed_by;  // the file that imports it
};

// What is closed before a library is loaded.
struct Closing {
  // Loader names. What only these images need does not count as loaded.
  std::vector<std::string> images;
  bool all = false;  // also dependencies that are kept otherwise
  // Whether something that the loader does not show holds the object of this name; null: nothing.
  std::function<bool(const std::string&)> is_held = nullptr;

  // Removes from `loaded` what goes, and returns it.
  LoadedObjects::Objects TakeOutOf(LoadedObjects& loaded) const;
};

// How dlopen(3) would resolve the dependencies of a library, determined without loading anything:
// from the files of those that are not loaded, and from the loader for the others. A forecast:
// files may change before the library is loaded, and DT_AUXILIARY, DT_FILTER and the older hardware
// subdirectories ("tls", "haswell") are ignored.
//
// Holds handles of loaded objects, so it must be destroyed before an image is closed. Any thread,
// one at a time.
class Resolution final {
 public:
  // `path` is the path of the library, which gives $ORIGIN. `provided`: the dependencies that are
  // images of other libraries. They are neither found nor missing here, because they are judged
  // where those images are opened.
  Resolution(const std::string& path, const ElfFacts& facts, const Closing& closing = {},
             std::span<const Provided> provided = {});

  Resolution(const Resolution&) = delete;
  Resolution& operator=(const Resolution&) = delete;
  ~Resolution();

  // The loaded dependencies whose file was replaced since: the library would use the old ones.
  std::vector<std::string> Replaced() const { return ReplacedFiles(loaded_dependencies_); }

  // Each dependency once, breadth first. The dependencies of a loaded one are loaded too, and are
  // not listed.
  const std::vector<FoundDependency>& found() const noexcept { return found_; }
  const std::vector<MissingDependency>& missing() const noexcept { return missing_; }

  // Throws Error (kMissingDependency) that names all of them.
  void ThrowIfMissing() const;

  // Whether a dependency, direct or not, has the symbol, so that dlsym(3) on a handle of the
  // library finds it even if the library itself does not define it.
  bool Provides(const std::string& symbol) const;

  // Whether a dependency, direct or not, or what a loaded one needs has the symbol in the version.
  bool ProvidesImport(const elf::Import& import) const;

  // The paths of those that are loaded, direct or not, and that the main program does not need.
  const std::vector<std::string>& loaded_dependencies() const noexcept {
    return loaded_dependencies_;
  }

  // The files of the dependencies that are not loaded.
  const std::vector<std::shared_ptr<const DependencyFile>>& files() const noexcept {
    return files_;
  }

  // What the dependencies can do by themselves that could crash the process once the library is
  // unmapped, and they with it; those that the main program needs are not listed.
  struct DependencyHazard {
    RetainReason reason;
    bool seen = false;  // whether soswap can see when it is over
  };
  std::vector<DependencyHazard> DependencyHazards() const;

  // The dependencies that are loaded with the library, stay loaded for ever, and bind symbols to
  // the first image of the library, so that this stays too. `library` is the file that `facts` came
  // from. `kept`: also those that soswap keeps.
  std::vector<RetainReason> DependenciesThatBind(const ElfFile& library, bool kept) const;

  // The symbols for which binding at once (RTLD_NOW) would fail: imports of the library and of
  // dependencies that are not loaded, except weak ones, that neither the global scope of the
  // process nor the library nor a dependency defines in the imported version. `library` is the file
  // that `facts` came from.
  std::vector<UndefinedSymbol> Undefined(const ElfFile& library) const;

 private:
  std::vector<std::string> LoadedDependencies() const;

  class Walk;

  bool ProvidedGlobally(const elf::Import& import) const;
  bool ProvidedByLoaded(const elf::Import& import) const;
  bool ProvidedByImages(const elf::Import& import) const;

  std::string path_;
  // The global scope. RTLD_DEFAULT would be the same, but each object found through it then stays
  // in the process as long as the caller: glibc takes that for a dependency.
  LoaderHandle global_;
  LoadedObjects::Objects closing_;    // the objects that go before
  std::vector<LoaderHandle> loaded_;  // dependencies that are in the process
  std::vector<std::shared_ptr<const DependencyFile>> files_;  // dependencies that are not
  std::vector<FoundDependency> found_;
  std::vector<MissingDependency> missing_;
  struct Image;
  std::vector<Image> images_;  // of other libraries
  // Paths of loaded dependencies, direct or not, that the main program does not need.
  std::vector<std::string> loaded_dependencies_;
};

}  // namespace soswap
