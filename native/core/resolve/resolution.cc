#include "core/resolve/resolution.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <unordered_set>
#include <utility>

#include "core/base/error.h"
#include "core/loader/kept_objects.h"
#include "core/resolve/inspected_snapshot.h"
#include "core/resolve/library_search.h"
#include "core/resolve/search_path.h"

namespace soswap {
namespace {

void Append(std::vector<std::string>& list, const std::vector<std::string>& more) {
  list.insert(list.end(), more.begin(), more.end());
}

std::optional<void*> AddressOf(const LoaderHandle& handle, const elf::Import& import) {
  return FindSymbol(handle.get(), import.name.data(),
                    import.version.empty() ? "" : import.version.data());
}

// "it needs 'libx.so', which is missing (looked in /a, /b); '/a/liby.so' needs …"
std::string Describe(std::span<const MissingDependency> missing, const std::string& path) {
  std::string text;
  for (const MissingDependency& each : missing) {
    if (!text.empty()) text += "; ";
    text += each.needed_by == path ? "it" : "'" + each.needed_by + "'";
    text += " needs '" + each.name + "', ";
    text += each.defect.empty() ? "which is missing (" + DescribeSearch(each.looked_in) + ")"
                                : "but " + each.defect;
  }
  return text;
}

}  // namespace

// Goes through DT_NEEDED breadth first, as the loader does.
class Resolution::Walk final {
 public:
  Walk(Resolution& into, LoadedObjects loaded) : into_(into), loaded_(std::move(loaded)) {}

  void Run(const std::string& path, const ElfFacts& facts, std::span<const Provided> provided) {
    for (const Provided& each : provided) seen_.insert(each.as->text());
    Enqueue(path, facts, GetLoaderPaths().program_rpath);
    if (facts.soname) seen_.insert(*facts.soname);
    for (; !queue_.empty(); queue_.pop_front()) {
      for (const std::string& name : queue_.front().needed) Visit(name, queue_.front());
    }
  }

 private:
  struct Parent {
    std::string path;
    std::string origin;
    std::vector<std::string> needed;
    std::vector<std::string> directories;  // searched for its dependencies
    std::vector<std::string> inherited;    // DT_RPATH for its dependencies
  };

  // The loader ignores every DT_RPATH for an object with a DT_RUNPATH (ld.so(8)), but passes those
  // of its parents on to its dependencies (measured).
  void Enqueue(const std::string& path, const ElfFacts& facts, std::vector<std::string> inherited) {
    Parent parent{path, OriginOf(path), facts.needed, {}, {}};
    if (facts.runpath) {
      parent.inherited = std::move(inherited);
    } else {
      if (facts.rpath) parent.inherited = ExpandSearchPath(*facts.rpath, parent.origin);
      Append(parent.inherited, inherited);
      parent.directories = parent.inherited;
    }
    Append(parent.directories, GetLoaderPaths().environment);
    if (facts.runpath) Append(parent.directories, ExpandSearchPath(*facts.runpath, parent.origin));
    queue_.push_back(std::move(parent));
  }

  void Visit(const std::string& needed, const Parent& parent) {
    const std::string name = ExpandTokens(needed, parent.origin);
    if (!seen_.insert(name).second) return;
    if (const LoadedObject* object = UseLoaded(name)) {
      into_.found_.push_back({needed, parent.path, object->name, true});
      return;
    }
    Lookup lookup = LookUp(name, parent);
    if (!lookup.path) {
      into_.missing_.push_back({needed, parent.path, std::move(lookup.looked_in), {}});
      return;
    }
    if (*lookup.path != name && !seen_.insert(*lookup.path).second) return;
    try {
      UseFile(*lookup.path, parent);
      into_.found_.push_back({needed, parent.path, *lookup.path, false});
    } catch (const Error& error) {
      into_.missing_.push_back({needed, parent.path, std::move(lookup.looked_in), error.what()});
    }
  }

  Lookup LookUp(const std::string& name, const Parent& parent) const {
    if (name.find('/') == std::string::npos) return SearchLibrary(name, parent.directories);
    if (access(name.c_str(), F_OK) != 0) return {.path = {}, .looked_in = {name}};
    return {.path = name, .looked_in = {}};
  }

  // The dependencies of a loaded object are loaded too.
  const LoadedObject* UseLoaded(const std::string& name) {
    const LoadedObject* object = loaded_.Find(name);
    if (object == nullptr) return nullptr;
    if (LoaderHandle handle{dlopen(object->name.c_str(), RTLD_LAZY | RTLD_NOLOAD)}) {
      into_.loaded_.push_back(std::move(handle));
    }
    return object;
  }

  void UseFile(const std::string& path, const Parent& parent) {
    auto file = DependencyFile::Read(path);
    if (file->facts().soname) seen_.insert(*file->facts().soname);
    Enqueue(path, file->facts(), parent.inherited);
    into_.files_.push_back(std::move(file));
  }

  Resolution& into_;
  LoadedObjects loaded_;
  std::deque<Parent> queue_;
  std::unordered_set<std::string> seen_;  // names, SONAMEs and paths that are resolved
};

LoadedObjects::Objects Closing::TakeOutOf(LoadedObjects& loaded) const {
  LoadedObjects::Objects taken;
  for (const std::string& image : images) {
    const auto more = loaded.TakeOut(image, [&](const auto& object) {
      const std::string& name = object->name;
      if (std::find(images.begin(), images.end(), name) != images.end()) return false;
      return IsKept(name) || (is_held && is_held(name)) || (!all && RunsByItself(object));
    });
    taken.insert(taken.end(), more.begin(), more.end());
  }
  return taken;
}

// An image of another library, and its own dependencies.
struct Resolution::Image {
  std::shared_ptr<const InspectedSnapshot> snapshot;
  std::unique_ptr<const Resolution> dependencies;
};

Resolution::Resolution(const std::string& path, const ElfFacts& facts, const Closing& closing,
                       std::span<const Provided> provided)
    : path_(path), global_(dlopen(nullptr, RTLD_LAZY)) {
  LoadedObjects loaded = LoadedObjects::List();
  closing_ = closing.TakeOutOf(loaded);
  Walk(*this, std::move(loaded)).Run(path, facts, provided);
  for (const Provided& each : provided) {
    const InspectedSnapshot& by = *each.by;
    images_.push_back({each.by, std::make_unique<const Resolution>(by.path, by.elf.facts(), closing,
                                                                   by.provided)});
  }
  loaded_dependencies_ = LoadedDependencies();
}

Resolution::~Resolution() = default;

std::vector<Resolution::DependencyHazard> Resolution::DependencyHazards() const {
  std::vector<DependencyHazard> hazards;
  const auto add = [&](const std::string& path, const UnloadFacts& facts) {
    const bool seen = !facts.is_go && std::all_of(facts.thread_functions.begin(),
                                                  facts.thread_functions.end(), IsSeenFromOutside);
    for (RetainReason& reason : UnmapHazards(facts)) {
      reason.detail += " (in its dependency '" + path + "')";
      hazards.push_back({std::move(reason), seen});
    }
  };
  for (const auto& file : files_) add(file->path(), file->unload());
  for (const std::string& path : loaded_dependencies_) {
    try {
      add(path, DependencyFile::Read(path)->unload());
    } catch (const Error&) {
      // What is loaded shows what soswap sees of it; only for dlclose(3) this is open.
      hazards.push_back(
          {{"may-run-threads", "its dependency '" + path +
                                   "' may run threads: the file is gone, so soswap cannot check"},
           true});
    }
  }
  return hazards;
}

namespace {

// Why the loader, or soswap, never unmaps it once it is bound; empty if it may go.
std::string WhyItStays(const DependencyFile& file, const ElfFile& library, bool kept) {
  const UnloadFacts& facts = file.unload();
  if (facts.no_delete) return "is linked with -z nodelete";
  // Those that the library has too are bound to its own, which are not unique in a private copy.
  const auto& unique = facts.unique_symbols;
  if (std::any_of(unique.begin(), unique.end(),
                  [&](const std::string& name) { return !library.Defines(name); })) {
    return "has STB_GNU_UNIQUE symbols";
  }
  return kept && !facts.thread_functions.empty() ? "can start threads" : "";
}

}  // namespace

std::vector<RetainReason> Resolution::DependenciesThatBind(const ElfFile& library,
                                                           bool kept) const {
  std::vector<RetainReason> reasons;
  for (const auto& file : files_) {
    const std::string why = WhyItStays(*file, library, kept);
    if (why.empty()) continue;
    const elf::Symbols& symbols = file->symbols();
    const auto found =
        std::find_if(file->bound().begin(), file->bound().end(), [&](std::size_t index) {
          const std::string_view name = symbols.NameOf(symbols.At(index));
          return library.Defines(name) && !ProvidedGlobally({name, false, {}});
        });
    if (found == file->bound().end()) continue;
    reasons.push_back({"bound-by", "its dependency '" + file->path() +
                                       "' stays loaded, because it " + why + ", and binds '" +
                                       std::string(symbols.NameOf(symbols.At(*found))) +
                                       "' to the first image"});
  }
  return reasons;
}

std::vector<std::string> Resolution::LoadedDependencies() const {
  if (std::none_of(found_.begin(), found_.end(), [](const auto& each) { return each.loaded; })) {
    return {};
  }
  const LoadedObjects objects = LoadedObjects::List();
  std::unordered_set<std::string> known;
  std::vector<std::string> paths;
  for (const FoundDependency& dependency : found_) {
    if (!dependency.loaded) continue;
    for (const LoadedObject* object : objects.ClosureOf(dependency.path)) {
      const bool is_file = object->name.find('/') != std::string::npos;
      if (objects.IsOfProgram(*object) || !is_file) continue;
      if (known.insert(object->name).second) paths.push_back(object->name);
    }
  }
  return paths;
}

void Resolution::ThrowIfMissing() const {
  if (missing_.empty()) return;
  throw Error(Fault::kMissingDependency, "load", path_, Describe(missing_, path_));
}

bool Resolution::Provides(const std::string& symbol) const {
  return ProvidesImport({.name = symbol, .weak = false, .version = {}});
}

bool Resolution::ProvidesImport(const elf::Import& import) const {
  return std::any_of(files_.begin(), files_.end(),
                     [&](const auto& file) {
                       return file->symbols().Find(import.name, import.version).has_value();
                     }) ||
         ProvidedByLoaded(import) || ProvidedByImages(import);
}

bool Resolution::ProvidedByImages(const elf::Import& import) const {
  return std::any_of(images_.begin(), images_.end(), [&](const Image& image) {
    return image.snapshot->elf.symbols().Find(import.name, import.version) ||
           image.dependencies->ProvidesImport(import);
  });
}

bool Resolution::ProvidedGlobally(const elf::Import& import) const {
  const auto found = AddressOf(global_, import);
  if (!found) return false;
  const auto address = reinterpret_cast<uintptr_t>(*found);
  return std::none_of(closing_.begin(), closing_.end(), [&](const auto& object) {
    return address >= object->start && address < object->end;
  });
}

bool Resolution::ProvidedByLoaded(const elf::Import& import) const {
  return std::any_of(loaded_.begin(), loaded_.end(), [&](const LoaderHandle& handle) {
    return AddressOf(handle, import).has_value();
  });
}

std::vector<UndefinedSymbol> Resolution::Undefined(const ElfFile& library) const {
  const auto is_provided = [&](const elf::Import& import) {
    return ProvidedGlobally(import) || library.symbols().Find(import.name, import.version) ||
           ProvidesImport(import);
  };
  std::vector<UndefinedSymbol> undefined;
  const auto add = [&](const elf::Symbols& symbols, const std::string& path) {
    symbols.ForEachImport([&](const elf::Import& import) {
      if (import.weak || is_provided(import)) return;
      undefined.push_back({std::string(import.name), std::string(import.version), path});
    });
  };
  add(library.symbols(), path_);
  for (const auto& file : files_) add(file->symbols(), file->path());
  return undefined;
}

}  // namespace soswap
