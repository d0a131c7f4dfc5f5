#include "core/resolve/dependencies.h"

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/path.h"
#include "core/elf/string_tokens.h"
#include "core/loader/dl.h"
#include "core/loader/stub_object.h"
#include "core/resolve/library_search.h"
#include "core/resolve/resolution.h"
#include "core/resolve/search_path.h"

namespace soswap {
namespace {

// A search path cannot name a directory with a colon; only the expansion of $ORIGIN can. Paths then
// replace the search, which works for every dependency with a SONAME.
void ReplaceNamesByPaths(StubRequest& request, const ElfFacts& facts, const std::string& origin) {
  const auto directories = ExpandSearchPath(SearchPathOf(facts), origin);
  for (std::string& name : request.needed) {
    if (name.find('/') != std::string::npos) continue;
    if (auto found = SearchLibrary(name, directories).path) name = *std::move(found);
  }
}

StubRequest RequestFor(const std::string& path, const ElfFacts& facts,
                       const std::string& loader_name) {
  const std::string origin = OriginOf(path);
  StubRequest request;
  request.search_path = ReplaceOrigin(SearchPathOf(facts), origin);
  request.path_is_inherited = !facts.runpath.has_value();
  // The snapshot comes first: a dependency that needs the library must find it by its SONAME.
  request.needed.push_back(loader_name);
  for (const std::string& name : facts.needed) {
    request.needed.push_back(ReplaceOrigin(name, origin));
    if (!UsesOrigin(name)) continue;
    // See ShortenNeededFromOrigin.
    if (!request.search_path.empty()) request.search_path += ':';
    request.search_path += OriginOf(request.needed.back());
    request.needed.emplace_back(LastPart(name));
  }
  if (origin.find(':') != std::string::npos) ReplaceNamesByPaths(request, facts, origin);
  return request;
}

// Users know the file, not the name of its private copy.
std::string ReplaceLoaderName(std::string text, const std::string& name, const std::string& path) {
  const auto at = text.find(name);
  if (at != std::string::npos) text.replace(at, name.size(), path);
  return text;
}

[[noreturn]] void Refuse(const std::string& path, const ElfFacts& facts, const std::string& text) {
  const Resolution resolution(path, facts);
  resolution.ThrowIfMissing();
  throw Error(Fault::kLoader, "load", path, text);
}

}  // namespace

bool NeedsAnchor(const ElfFacts& facts) {
  if (UsesOrigin(SearchPathOf(facts))) return true;
  for (const std::string& name : facts.needed) {
    if (UsesOrigin(name)) return true;
  }
  return false;
}

void* LoadSnapshot(const std::string& path, const ElfFacts& facts, const std::string& loader_name,
                   int mode) {
  std::optional<StubObject> anchor;
  if (NeedsAnchor(facts)) {
    // These two flags would apply to the anchor too. The second dlopen is early enough for them:
    // the loader applies RTLD_GLOBAL after the constructors have run.
    anchor.emplace(RequestFor(path, facts, loader_name), mode & ~(RTLD_GLOBAL | RTLD_NODELETE));
    if (!anchor->loaded()) {
      Refuse(path, facts,
             ReplaceLoaderName(ReplaceLoaderName(anchor->refusal(), loader_name, path),
                               anchor->loader_name(), path));
    }
  }
  void* handle = dlopen(loader_name.c_str(), mode);
  if (handle == nullptr) Refuse(path, facts, ReplaceLoaderName(LoaderText(), loader_name, path));
  return handle;
}

}  // namespace soswap
