#include "core/bind/own_first.h"

#include <dlfcn.h>
#include <elf.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "core/bind/bound_imports.h"
#include "core/elf/edit.h"
#include "core/loader/object_symbols.h"
#include "core/loader/own_first_objects.h"

namespace soswap {
namespace {

elf::Import ImportAt(const elf::Symbols& symbols, size_t index) {
  const Elf64_Sym symbol = symbols.At(index);
  return {symbols.NameOf(symbol), ELF64_ST_BIND(symbol.st_info) == STB_WEAK,
          symbols.versions().NameOf(index)};
}

bool IsThreadLocal(const Elf64_Sym& symbol) { return ELF64_ST_TYPE(symbol.st_info) == STT_TLS; }

// Whether the program exports the name for something of its own. Linkers give some names to every
// object, and compilers give weak ones to C++ code that is alike in all objects: templates, inline
// functions.
bool IsOfProgram(std::string_view name) {
  constexpr std::array<std::string_view, 5> kOfLinkers = {"_end", "_edata", "__bss_start", "_init",
                                                          "_fini"};
  const Elf64_Sym* symbol = ProgramSymbols().Find(name);
  if (symbol == nullptr) return false;
  if (name.starts_with("_Z") && ELF64_ST_BIND(symbol->st_info) != STB_GLOBAL) return false;
  return std::find(kOfLinkers.begin(), kOfLinkers.end(), name) == kOfLinkers.end();
}

// The objects that the process began with, in the loader's order.
class StartObjects final {
 public:
  StartObjects() {
    for (const LoadedObject* object : list_.AtStart()) {
      if (!object->name.empty() && object->name.find('/') == std::string::npos) continue;  // vDSO
      const bool first = objects_.empty() || !list_.IsOfProgram(*object);
      objects_.push_back({ObjectSymbols(*object), first});
    }
  }

  struct Definition {
    const ObjectSymbols* object = nullptr;
    const Elf64_Sym* symbol = nullptr;
    bool by_program = false;  // or by an object of LD_PRELOAD
  };

  std::optional<Definition> Find(std::string_view name) const { return FindFrom(0, name); }

  // Beside the program itself.
  bool HaveBesideProgram(std::string_view name) const { return FindFrom(1, name).has_value(); }

  // What RTLD_DEEPBIND makes the loader take.
  std::optional<Definition> FindInLibraries(std::string_view name) const {
    for (const Object& object : objects_) {
      if (object.first) continue;
      if (const auto* symbol = object.symbols.Find(name)) return {{&object.symbols, symbol, false}};
    }
    return std::nullopt;
  }

  // Whether LD_PRELOAD brought any.
  bool HavePreloaded() const {
    return std::count_if(objects_.begin(), objects_.end(),
                         [](const Object& object) { return object.first; }) > 1;
  }

 private:
  struct Object {
    ObjectSymbols symbols;
    bool first;  // the program, or an object of LD_PRELOAD
  };

  std::optional<Definition> FindFrom(size_t first, std::string_view name) const {
    for (size_t index = first; index < objects_.size(); ++index) {
      const Object& object = objects_[index];
      if (const auto* symbol = object.symbols.Find(name)) {
        return {{&object.symbols, symbol, object.first}};
      }
    }
    return std::nullopt;
  }

  LoadedObjects list_ = LoadedObjects::List();
  std::vector<Object> objects_;
};

// Whether code that uses one would notice that the program has the other. A program has copies of
// variables of the libraries that it is linked with; those that never change are as good.
bool Differ(const StartObjects::Definition& program, const StartObjects::Definition& library,
            std::string_view name) {
  const unsigned type = ELF64_ST_TYPE(library.symbol->st_info);
  if (type != STT_OBJECT) return type == STT_TLS || IsAllocator(name) || program.object == nullptr;
  // Old std::string compares its address.
  if (name.find("_S_empty_rep_storage") != std::string_view::npos) return true;
  const size_t size = std::min(program.symbol->st_size, library.symbol->st_size);
  return std::memcmp(program.object->AddressOf(*program.symbol),
                     library.object->AddressOf(*library.symbol), size) != 0;
}

class Search final {
 public:
  Search(const ElfFile& library, const Resolution& resolution)
      : library_(library), resolution_(resolution) {}

  ContestedNames Run() && {
    const elf::Symbols& symbols = library_.symbols();
    for (const size_t index : symbols.imports()) {
      if (IsThreadLocal(symbols.At(index))) continue;
      const elf::Import import = ImportAt(symbols, index);
      if (IsContested(import.name) && resolution_.ProvidesImport(import)) {
        found_.imports.emplace_back(import.name);
      }
    }
    for (const auto& file : resolution_.files()) {
      if (HasContested(*file)) found_.dependencies.push_back(file->path());
    }
    if (found_.AmongDependencies()) found_.obstacle = Obstacle();
    return std::move(found_);
  }

  std::vector<std::string> Exports() {
    std::vector<std::string> names;
    const elf::Symbols& symbols = library_.symbols();
    for (size_t index = 1; index < symbols.count(); ++index) {
      const Elf64_Sym symbol = symbols.At(index);
      if (!elf::IsExported(symbol)) continue;
      const std::string_view name = symbols.NameOf(symbol);
      if (IsContested(name)) names.emplace_back(name);
    }
    return names;
  }

 private:
  bool IsContested(std::string_view name) {
    return IsOfProgram(name) && !start().HaveBesideProgram(name);
  }

  const StartObjects& start() {
    if (!start_) start_.emplace();
    return *start_;
  }

  bool IsOwn(const elf::Import& import) const {
    return library_.symbols().Find(import.name, import.version) ||
           resolution_.ProvidesImport(import);
  }

  bool HasContested(const DependencyFile& file) {
    const auto& shared = file.in_program();
    return std::any_of(shared.begin(), shared.end(), [&](size_t index) {
      const elf::Import import = ImportAt(file.symbols(), index);
      if (!IsContested(import.name)) return false;
      return elf::IsExported(file.symbols().At(index)) || IsOwn(import);
    });
  }

  std::string Obstacle() {
#ifdef RTLD_DEEPBIND
    if (const std::string& why = WhyImportsStayUnbound(); !why.empty()) return why;
    if (start().Find("__sanitizer_set_death_callback")) {
      return "a sanitizer's runtime ends the process at RTLD_DEEPBIND";
    }
    if (std::string why = BoundBefore(); !why.empty()) return why;
    for (const auto& file : resolution_.files()) {
      const std::string name = FirstLost(*file);
      if (name.empty()) continue;
      const auto& contested = found_.dependencies;
      if (std::find(contested.begin(), contested.end(), file->path()) != contested.end()) {
        return "its dependency '" + file->path() + "' shares '" + name + "' with the program";
      }
      found_.sharing.push_back(file->path());
    }
    return {};
#else
    return "the C library has no RTLD_DEEPBIND";
#endif
  }

  // Code of a loaded dependency that took the program's definitions must not get what others made.
  std::string BoundBefore() {
    const LoadedObjects objects = LoadedObjects::List();
    for (const std::string& path : resolution_.loaded_dependencies()) {
      const LoadedObject* object = objects.Find(path);
      if (object == nullptr || IsOwnFirst(*object)) continue;
      try {
        if (!HasContested(*DependencyFile::Read(path))) continue;
      } catch (const Error&) {
        // The file is gone, so that nothing can be known of it.
      }
      return "its dependency '" + path + "' was loaded before, and bound to the program";
    }
    return {};
  }

  // The first import of a dependency for which the program has something that the dependency would
  // miss.
  std::string FirstLost(const DependencyFile& file) {
    const auto is_lost = [&](size_t index) {
      const elf::Import import = ImportAt(file.symbols(), index);
      const auto now = start().Find(import.name);
      if (!now || !now->by_program) return false;
      const auto deep = start().FindInLibraries(import.name);
      return deep && (start().HavePreloaded() || Differ(*now, *deep, import.name));
    };
    const auto& symbols = file.symbols();
    const auto try_one = [&](size_t index) {
      return elf::IsImport(symbols.At(index)) && is_lost(index);
    };
    if (!start().HavePreloaded()) {
      const auto& shared = file.in_program();
      const auto found = std::find_if(shared.begin(), shared.end(), try_one);
      return found == shared.end() ? "" : std::string(symbols.NameOf(symbols.At(*found)));
    }
    for (const size_t index : symbols.imports()) {
      if (is_lost(index)) return std::string(symbols.NameOf(symbols.At(index)));
    }
    return {};
  }

  const ElfFile& library_;
  const Resolution& resolution_;
  std::optional<StartObjects> start_;  // most libraries need none
  ContestedNames found_;
};

// Binds all imports but these that the objects of the start define.
void BindToStart(const std::unordered_set<std::string>& contested, const ElfFile& file,
                 std::span<std::byte> copy) {
  const StartObjects start;
  const LoaderHandle global(dlopen(nullptr, RTLD_LAZY));
  const elf::Symbols& symbols = file.symbols();
  for (const size_t index : symbols.imports()) {
    const Elf64_Sym symbol = symbols.At(index);
    if (elf::IsBound(symbol) || IsThreadLocal(symbol)) continue;
    const std::string_view name = symbols.NameOf(symbol);
    if (name.empty() || contested.contains(std::string(name)) || !start.Find(name)) continue;
    const auto address = FindSymbol(global.get(), name.data(), symbols.versions().TextOf(index));
    if (address) BindImport(file, copy, index, reinterpret_cast<uintptr_t>(*address));
  }
}

// The files of the dependencies, each after those that it needs itself.
class LoadOrder final {
 public:
  explicit LoadOrder(const Resolution& resolution) {
    for (const auto& file : resolution.files()) files_[file->path()] = file.get();
    for (const FoundDependency& found : resolution.found()) paths_[found.name] = found.path;
  }

  std::vector<std::string> Run(const ElfFacts& library) && {
    Visit(library);
    return std::move(order_);
  }

 private:
  void Visit(const ElfFacts& facts) {
    for (const std::string& name : facts.needed) {
      const auto path = paths_.find(name);
      const auto file = path == paths_.end() ? files_.end() : files_.find(path->second);
      if (file == files_.end() || !seen_.insert(file->first).second) continue;
      Visit(file->second->facts());
      order_.push_back(file->first);
    }
  }

  std::unordered_map<std::string, const DependencyFile*> files_;
  std::unordered_map<std::string, std::string> paths_;  // by name in DT_NEEDED
  std::unordered_set<std::string> seen_;
  std::vector<std::string> order_;
};

}  // namespace

ContestedNames FindContestedNames(const ElfFile& library, const Resolution& resolution) {
  return Search(library, resolution).Run();
}

std::vector<std::string> FindContestedExports(const ElfFile& library,
                                              const Resolution& resolution) {
  return Search(library, resolution).Exports();
}

bool PutOwnFirst(InspectedSnapshot& taken, const Resolution& resolution) {
  ContestedNames found = FindContestedNames(taken.elf, resolution);
  if (!found.AmongDependencies() || !found.obstacle.empty()) return false;
  taken.last_edit = [names = std::make_shared<const std::unordered_set<std::string>>(
                         found.imports.begin(), found.imports.end())](const ElfFile& file,
                                                                      std::span<std::byte> copy) {
    BindToStart(*names, file, copy);
  };
  taken.last_edit(taken.elf, taken.snapshot->editable());
  if (found.sharing.empty()) return true;
  const std::unordered_set<std::string> sharing(found.sharing.begin(), found.sharing.end());
  for (std::string& path : LoadOrder(resolution).Run(taken.elf.facts())) {
    const bool own_first = !sharing.contains(path);
    taken.apart.push_back({std::move(path), own_first});
  }
  return true;
}

}  // namespace soswap
