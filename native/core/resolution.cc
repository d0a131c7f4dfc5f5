#include "resolution.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <deque>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "error.h"
#include "file_descriptor.h"
#include "library_search.h"
#include "search_path.h"

namespace soswap {
namespace {

std::vector<std::byte> ReadFile(const std::string& path) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status {};
  if (!file.valid() || fstat(file.get(), &status) != 0) {
    throw Error(Fault::kUnreadable, "read", path, std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error(Fault::kNotAFile, "read", path, "it is not a regular file");
  }
  std::vector<std::byte> bytes(static_cast<size_t>(status.st_size));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = read(file.get(), bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw Error(Fault::kUnreadable, "read", path, std::strerror(errno));
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  bytes.resize(done);
  return bytes;
}

void Append(std::vector<std::string>& list, const std::vector<std::string>& more) {
  list.insert(list.end(), more.begin(), more.end());
}

// What a file defines, by name and version. Built only for a file that is asked for symbols.
class Definitions final {
 public:
  explicit Definitions(const ElfFile& file) : file_(file) {}

  bool Satisfy(const ElfImport& import) {
    if (import.version.empty()) return file_.Defines(import.name);
    if (versions_.empty()) {
      for (ElfExport& each : file_.Exports()) {
        versions_[std::move(each.name)].push_back(std::move(each.version));
      }
    }
    const auto found = versions_.find(import.name);
    // A definition without a version suits every request, as it does for the loader.
    return found != versions_.end() &&
           std::any_of(found->second.begin(), found->second.end(), [&](const std::string& version) {
             return version.empty() || version == import.version;
           });
  }

 private:
  const ElfFile& file_;
  std::unordered_map<std::string, std::vector<std::string>> versions_;
};

std::optional<uintptr_t> AddressOf(void* handle, const ElfImport& import) {
  dlerror();
  void* address = nullptr;
#if defined(__GLIBC__)
  if (!import.version.empty()) {
    address = dlvsym(handle, import.name.c_str(), import.version.c_str());
  } else
#endif
  {
    address = dlsym(handle, import.name.c_str());
  }
  // A symbol may have the address null.
  if (address == nullptr && dlerror() != nullptr) return std::nullopt;
  return reinterpret_cast<uintptr_t>(address);
}

}  // namespace

// A dependency as it lies in the file system.
struct Resolution::File {
  File(const std::string& path, std::vector<std::byte> contents)
      : bytes(std::move(contents)), elf(ElfFile::Parse(bytes, path)) {}

  std::vector<std::byte> bytes;
  ElfFile elf;
};

// Goes through DT_NEEDED breadth first, as the loader does.
class Resolution::Walk final {
 public:
  Walk(Resolution& into, LoadedObjects loaded) : into_(into), loaded_(std::move(loaded)) {}

  void Run(const std::string& path, const ElfFacts& facts) {
    Enqueue(path, facts, GetLoaderPaths().program_rpath);
    if (facts.soname) seen_.insert(*facts.soname);
    for (; !queue_.empty(); queue_.pop_front()) {
      for (const std::string& name : queue_.front().needed) Visit(name, queue_.front());
    }
  }

 private:
  struct Asker {
    std::string path;
    std::string origin;
    std::vector<std::string> needed;
    std::vector<std::string> directories;  // that are searched for what it needs
    std::vector<std::string> inherited;    // DT_RPATH that its dependencies inherit
  };

  // An object with a DT_RUNPATH is deaf to every DT_RPATH, but passes those of its loaders on
  // (ld.so(8); the latter is measured).
  void Enqueue(const std::string& path, const ElfFacts& facts, std::vector<std::string> inherited) {
    Asker asker{path, OriginOf(path), facts.needed, {}, {}};
    if (facts.runpath) {
      asker.inherited = std::move(inherited);
    } else {
      if (facts.rpath) asker.inherited = ExpandSearchPath(*facts.rpath, asker.origin);
      Append(asker.inherited, inherited);
      asker.directories = asker.inherited;
    }
    Append(asker.directories, GetLoaderPaths().environment);
    if (facts.runpath) Append(asker.directories, ExpandSearchPath(*facts.runpath, asker.origin));
    queue_.push_back(std::move(asker));
  }

  void Visit(const std::string& needed, const Asker& asker) {
    const std::string name = ExpandTokens(needed, asker.origin);
    if (!seen_.insert(name).second) return;
    if (const LoadedObject* object = UseLoaded(name)) {
      into_.found_.push_back({needed, asker.path, object->name, true});
      return;
    }
    Lookup lookup = LookUp(name, asker);
    if (!lookup.path) {
      into_.missing_.push_back({needed, asker.path, std::move(lookup.looked_in), {}});
      return;
    }
    if (*lookup.path != name && !seen_.insert(*lookup.path).second) return;
    try {
      UseFile(*lookup.path, asker);
      into_.found_.push_back({needed, asker.path, *lookup.path, false});
    } catch (const Error& error) {
      into_.missing_.push_back({needed, asker.path, std::move(lookup.looked_in), error.what()});
    }
  }

  Lookup LookUp(const std::string& name, const Asker& asker) const {
    if (name.find('/') == std::string::npos) return SearchLibrary(name, asker.directories);
    if (access(name.c_str(), F_OK) != 0) return {.path = {}, .looked_in = {name}};
    return {.path = name, .looked_in = {}};
  }

  // What is loaded has its own dependencies loaded too.
  const LoadedObject* UseLoaded(const std::string& name) {
    const LoadedObject* object = loaded_.Find(name);
    if (object == nullptr) return nullptr;
    if (Handle handle{dlopen(object->name.c_str(), RTLD_LAZY | RTLD_NOLOAD)}) {
      into_.loaded_.push_back(std::move(handle));
    }
    return object;
  }

  void UseFile(const std::string& path, const Asker& asker) {
    auto file = std::make_unique<File>(path, ReadFile(path));
    if (file->elf.facts().soname) seen_.insert(*file->elf.facts().soname);
    Enqueue(path, file->elf.facts(), asker.inherited);
    into_.files_.push_back(std::move(file));
  }

  Resolution& into_;
  LoadedObjects loaded_;
  std::deque<Asker> queue_;
  std::unordered_set<std::string> seen_;  // names, SONAMEs and paths that have their object
};

void Resolution::HandleCloser::operator()(void* handle) const noexcept { dlclose(handle); }

Resolution::Resolution(const std::string& path, const ElfFacts& facts, const std::string& leaving)
    : path_(path), global_(dlopen(nullptr, RTLD_LAZY)) {
  LoadedObjects loaded = LoadedObjects::List();
  if (!leaving.empty()) leaving_ = loaded.TakeOut(leaving);
  Walk(*this, std::move(loaded)).Run(path, facts);
  beside_ = LoadedBeside();
}

Resolution::~Resolution() = default;

std::vector<RetainReason> Resolution::DependencyHazards() const {
  std::vector<RetainReason> hazards;
  const auto add = [&](const std::string& path, const UnloadFacts& facts) {
    for (RetainReason& hazard : UnmapHazards(facts)) {
      hazard.detail += " (in '" + path + "', which it needs)";
      hazards.push_back(std::move(hazard));
    }
  };
  for (const auto& file : files_) add(file->elf.subject(), UnloadFactsOf(file->elf));
  for (const std::string& path : beside_) {
    try {
      const std::vector<std::byte> bytes = ReadFile(path);
      add(path, UnloadFactsOf(ElfFile::Parse(bytes, path)));
    } catch (const Error&) {
      hazards.push_back({"may-run-threads", "nothing is known of '" + path +
                                                "', which it needs and which is no longer there"});
    }
  }
  return hazards;
}

std::vector<std::string> Resolution::LoadedBeside() const {
  if (std::none_of(found_.begin(), found_.end(), [](const auto& each) { return each.loaded; })) {
    return {};
  }
  const LoadedObjects objects = LoadedObjects::List();
  std::unordered_set<std::string> known;
  for (const LoadedObject* object : objects.ClosureOfProgram()) known.insert(object->name);
  std::vector<std::string> paths;
  for (const FoundDependency& dependency : found_) {
    if (!dependency.loaded) continue;
    for (const LoadedObject* object : objects.ClosureOf(dependency.path)) {
      const bool is_file = object->name.find('/') != std::string::npos;
      if (known.insert(object->name).second && is_file) paths.push_back(object->name);
    }
  }
  return paths;
}

void Resolution::ThrowIfMissing() const {
  if (missing_.empty()) return;
  throw Error(Fault::kMissingDependency, "load", path_, Describe(missing_, path_));
}

bool Resolution::Provides(const std::string& symbol) const {
  return ProvidedByLoaded({symbol, false, {}}) ||
         std::any_of(files_.begin(), files_.end(),
                     [&](const auto& file) { return file->elf.Defines(symbol); });
}

bool Resolution::ProvidedGlobally(const ElfImport& import) const {
  const auto address = AddressOf(global_.get(), import);
  if (!address) return false;
  return std::none_of(leaving_.begin(), leaving_.end(), [&](const LoadedObject& object) {
    return *address >= object.start && *address < object.end;
  });
}

bool Resolution::ProvidedByLoaded(const ElfImport& import) const {
  return std::any_of(loaded_.begin(), loaded_.end(), [&](const Handle& handle) {
    return AddressOf(handle.get(), import).has_value();
  });
}

std::vector<UndefinedSymbol> Resolution::Undefined(const ElfFile& library) const {
  std::vector<const ElfFile*> arriving{&library};
  for (const auto& file : files_) arriving.push_back(&file->elf);
  std::vector<Definitions> definitions;
  definitions.reserve(arriving.size());
  for (const ElfFile* file : arriving) definitions.emplace_back(*file);
  const auto is_provided = [&](const ElfImport& import) {
    return ProvidedGlobally(import) ||
           std::any_of(definitions.begin(), definitions.end(),
                       [&](Definitions& each) { return each.Satisfy(import); }) ||
           ProvidedByLoaded(import);
  };
  std::vector<UndefinedSymbol> undefined;
  std::unordered_set<std::string> provided;  // many files ask for the same ones
  for (const ElfFile* file : arriving) {
    for (ElfImport& import : file->Imports()) {
      if (import.weak || provided.contains(import.name + "@" + import.version)) continue;
      if (is_provided(import)) {
        provided.insert(import.name + "@" + import.version);
      } else {
        undefined.push_back({std::move(import.name), std::move(import.version),
                             file == &library ? path_ : file->subject()});
      }
    }
  }
  return undefined;
}

std::string Describe(std::span<const MissingDependency> missing, const std::string& path) {
  std::string text;
  for (const MissingDependency& each : missing) {
    if (!text.empty()) text += "; ";
    text += each.needed_by == path ? "it" : "'" + each.needed_by + "'";
    text += " needs '" + each.name + "', ";
    text += each.defect.empty() ? "which is missing (" + Describe(each.looked_in) + ")"
                                : "but " + each.defect;
  }
  return text;
}

}  // namespace soswap
