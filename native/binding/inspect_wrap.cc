#include "binding/inspect_wrap.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "binding/convert_js.h"
#include "binding/js_error.h"
#include "core/bind/bound_imports.h"
#include "core/bind/own_first.h"
#include "core/elf/name_hints.h"
#include "core/image/known_image.h"
#include "core/loader/kept_objects.h"
#include "core/resolve/resolution.h"
#include "core/tracking/tracking.h"

namespace soswap {
namespace {

const char* NameOf(ElfType type) {
  switch (type) {
    case ElfType::kFunction:
      return "function";
    case ElfType::kIndirectFunction:
      return "indirect-function";
    case ElfType::kObject:
      return "object";
    case ElfType::kThreadLocal:
      return "thread-local";
    case ElfType::kNone:
      return "none";
  }
  return "none";
}

const char* NameOf(ElfBinding binding) {
  switch (binding) {
    case ElfBinding::kGlobal:
      return "global";
    case ElfBinding::kWeak:
      return "weak";
    case ElfBinding::kUnique:
      return "unique";
  }
  return "global";
}

Napi::Array Exports(Napi::Env env, const ElfFile& elf) {
  const auto symbols = elf.Exports();
  Napi::Array array = Napi::Array::New(env, symbols.size());
  for (uint32_t index = 0; index < symbols.size(); ++index) {
    const ElfExport& symbol = symbols[index];
    Napi::Object entry = Napi::Object::New(env);
    entry["name"] = symbol.name;
    entry["type"] = NameOf(symbol.type);
    entry["binding"] = NameOf(symbol.binding);
    entry["version"] = symbol.version;
    entry["size"] = static_cast<double>(symbol.size);
    array[index] = entry;
  }
  return array;
}

Napi::Array Imports(Napi::Env env, const ElfFile& elf) {
  const auto symbols = elf.Imports();
  Napi::Array array = Napi::Array::New(env, symbols.size());
  for (uint32_t index = 0; index < symbols.size(); ++index) {
    Napi::Object entry = Napi::Object::New(env);
    entry["name"] = symbols[index].name;
    entry["version"] = symbols[index].version;
    entry["weak"] = symbols[index].weak;
    array[index] = entry;
  }
  return array;
}

Napi::Object Dependency(Napi::Env env, const std::string& name, const std::string& needed_by) {
  Napi::Object entry = Napi::Object::New(env);
  entry["name"] = name;
  entry["neededBy"] = needed_by;
  return entry;
}

Napi::Array Dependencies(Napi::Env env, const Resolution& resolution) {
  Napi::Array array = Napi::Array::New(env);
  for (const FoundDependency& found : resolution.found()) {
    Napi::Object entry = Dependency(env, found.name, found.needed_by);
    entry["path"] = PathOfObject(found.path);
    entry["loaded"] = found.loaded;
    if (IsKept(found.path)) entry["kept"] = true;
    array[array.Length()] = entry;
  }
  for (const MissingDependency& missing : resolution.missing()) {
    Napi::Object entry = Dependency(env, missing.name, missing.needed_by);
    entry["path"] = env.Null();
    entry["lookedIn"] = ToArray(env, missing.looked_in);
    if (!missing.defect.empty()) entry["defect"] = missing.defect;
    array[array.Length()] = entry;
  }
  return array;
}

Napi::Object ProgramNames(Napi::Env env, const ElfFile& elf, const Resolution& resolution) {
  const ContestedNames names = FindContestedNames(elf, resolution);
  Napi::Object object = Napi::Object::New(env);
  object["exports"] = ToArray(env, FindContestedExports(elf, resolution));
  object["imports"] = ToArray(env, names.imports);
  object["dependencies"] = ToArray(env, names.dependencies);
  object["obstacle"] = names.obstacle.empty() ? env.Null() : Napi::String::New(env, names.obstacle);
  return object;
}

// What a private copy leaves of the facts: tracked imports are bound there.
struct TrackedFacts {
  bool tracks = false;
  UnloadFacts left;
};

TrackedFacts FactsOfCopy(const InspectedSnapshot& taken) {
  const auto tracking = WhyImportsStayUnbound().empty() ? Tracking::New() : nullptr;
  if (tracking == nullptr) return {false, taken.unload};
  UnloadFacts left = UnloadFactsOf(
      taken.elf, [&](std::string_view name) { return tracking->AddressOf(name) != 0; });
  const bool tracks = left.thread_functions.size() < taken.unload.thread_functions.size() ||
                      left.thread_local_destructors != taken.unload.thread_local_destructors;
  return {tracks, std::move(left)};
}

}  // namespace

Napi::Object Inspect(Napi::Env env, const InspectedSnapshot& taken) {
  const ElfFacts& facts = taken.elf.facts();
  const Resolution resolution(taken.path, facts);
  Napi::Object object = Napi::Object::New(env);
  object["machine"] = facts.machine;
  object["soname"] = StringOrNull(env, facts.soname);
  object["runpath"] = StringOrNull(env, facts.runpath);
  object["rpath"] = StringOrNull(env, facts.rpath);
  object["memorySize"] = static_cast<double>(facts.memory_size);
  object["threadLocalStorage"] = facts.has_tls;
  object["staticTls"] = facts.flags.static_tls;
  object["noDelete"] = facts.flags.no_delete;
  object["symbolic"] = facts.flags.symbolic;
  object["textRelocations"] = facts.flags.text_relocations;
  object["bindNow"] = facts.flags.bind_now;
  object["go"] = facts.is_go;
  object["threadLocalDestructors"] = taken.unload.thread_local_destructors;
  const TrackedFacts copy = FactsOfCopy(taken);
  object["tracked"] = copy.tracks;
  object["untrackedHazards"] = ToArray(env, UnmapHazards(copy.left));
  object["untrackedDestructors"] = copy.left.thread_local_destructors;
  object["uniqueSymbols"] = ToArray(env, taken.unload.unique_symbols);
  object["exports"] = Exports(env, taken.elf);
  object["imports"] = Imports(env, taken.elf);
  object["dependencies"] = Dependencies(env, resolution);
  object["programNames"] = ProgramNames(env, taken.elf, resolution);
  object["addonSymbol"] = StringOrNull(env, AddonSymbol(taken.elf));
  object["missingDependency"] = env.Null();
  object["resolution"] = env.Null();
  try {
    const Requirements all{std::make_shared<RequestedSymbols>(), true, {}};
    object["resolution"] = ToObjectOrNull(env, Resolve(taken, all, resolution),
                                          StaleImages(resolution.loaded_dependencies()));
  } catch (const Error& error) {
    object["missingDependency"] = MakeSoError(env, error);
  }
  std::vector<RetainReason> hazards;
  std::vector<RetainReason> unseen;
  for (const auto& [reason, seen] : resolution.DependencyHazards()) {
    hazards.push_back(reason);
    if (!seen) unseen.push_back(reason);
  }
  object["dependencyHazards"] = ToArray(env, hazards);
  object["bindingDependencies"] = ToArray(env, resolution.DependenciesThatBind(taken.elf, true));
  object["unseenDependencyHazards"] = ToArray(env, unseen);
  return object;
}

}  // namespace soswap
