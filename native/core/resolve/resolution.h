#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "core/elf/file.h"
#include "core/loader/dl.h"
#include "core/loader/loaded_objects.h"
#include "core/loader/unload.h"
#include "core/resolve/dependency_file.h"

namespace soswap {

// A dependency that the loader would not find, or not take.
struct MissingDependency {
  std::string name;                    // as DT_NEEDED has it
  std::string needed_by;               // the file that has it
  std::vector<std::string> looked_in;  // for it
  std::string defect;                  // what is wrong with the file that was found, if one was
};

// A dependency that the loader finds.
struct FoundDependency {
  std::string name;       // as DT_NEEDED has it
  std::string needed_by;  // the file that has it
  std::string path;       // of the file, or what the loader calls the object that it has already
  bool loaded = false;    // in the process already
};

// A symbol that nothing provides.
struct UndefinedSymbol {
  std::string name;
  std::string version;    // empty when any would do
  std::string needed_by;  // the file that asks for it
};

// What dlopen(3) would make of a library's dependencies, found out without loading anything: the
// files that are not in the process yet are read, the others are asked through the loader. A
// forecast: files may change before the library is loaded, and DT_AUXILIARY, DT_FILTER and the
// older hardware subdirectories ("tls", "haswell") are not looked at.
//
// Holds objects of the process open, so it must be destroyed before an image is closed. Any thread
// may use it, one at a time.
class Resolution final {
 public:
  // `path` as it will be loaded: $ORIGIN is its directory. `leaving` is the loader's name of an
  // image that will be closed before: what only that image needs does not count as loaded.
  Resolution(const std::string& path, const ElfFacts& facts, const std::string& leaving = {});

  Resolution(const Resolution&) = delete;
  Resolution& operator=(const Resolution&) = delete;
  ~Resolution();

  // The loaded dependencies whose file was replaced since: the library would get the old ones.
  std::vector<std::string> Replaced() const { return ReplacedFiles(beside_); }

  // Each once, direct ones first, then those of dependencies. What a loaded one needs is loaded
  // too and not told.
  const std::vector<FoundDependency>& found() const noexcept { return found_; }
  const std::vector<MissingDependency>& missing() const noexcept { return missing_; }

  // Throws Error (kMissingDependency) that tells all of them.
  void ThrowIfMissing() const;

  // Whether a dependency, direct or not, has the symbol, so that dlsym(3) on a handle of the
  // library finds it even if the library itself does not define it.
  bool Provides(const std::string& symbol) const;

  // Why unmapping what the library needs could crash the process. Whoever closes it last takes its
  // dependencies along, all but those that the main program needs itself.
  std::vector<RetainReason> DependencyHazards() const;

  // What binding everything at once (RTLD_NOW) would fail for: symbols, weak ones aside, that the
  // library or a dependency not loaded yet asks for, and that neither the global scope of the
  // process nor the library nor any dependency has in the version asked for. `library` is the file
  // that `facts` came from.
  std::vector<UndefinedSymbol> Undefined(const ElfFile& library) const;

 private:
  std::vector<std::string> LoadedBeside() const;

  class Walk;

  bool ProvidedGlobally(const elf::Import& import) const;
  bool ProvidedByLoaded(const elf::Import& import) const;

  std::string path_;
  // The global scope. RTLD_DEFAULT would be the same, but each object found through it then stays
  // in the process as long as the caller: glibc takes that for a dependency.
  LoaderHandle global_;
  LoadedObjects::Objects leaving_;
  std::vector<LoaderHandle> loaded_;  // dependencies that are in the process
  std::vector<std::shared_ptr<const DependencyFile>> files_;  // and those that are not
  std::vector<FoundDependency> found_;
  std::vector<MissingDependency> missing_;
  // Loaded dependencies, direct or not, that the main program does not need itself.
  std::vector<std::string> beside_;
};

}  // namespace soswap
