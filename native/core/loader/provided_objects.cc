#include "core/loader/provided_objects.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <utility>

#include "core/base/error.h"
#include "core/loader/loaded_objects.h"

namespace soswap {
namespace {

// A handle of a loaded object, for it to stay. A name that leads to a descriptor may lead to
// another file by now, so it is asked for only while the loader has an object of that very name.
LoaderHandle Hold(const LoadedObjects& objects, const std::string& name) {
  const auto& all = objects.all();
  const auto has_name = [&](const auto& object) { return object->name == name; };
  if (std::none_of(all.begin(), all.end(), has_name)) return nullptr;
  LoaderHandle handle(dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD));
  link_map* map = nullptr;
  if (handle == nullptr || dlinfo(handle.get(), RTLD_DI_LINKMAP, &map) != 0) return nullptr;
  return map->l_name == name ? std::move(handle) : nullptr;
}

}  // namespace

ProvidedObjects::ProvidedObjects(const std::string& subject,
                                 std::span<const ProvidedObject> objects) {
  if (objects.empty()) return;
#ifndef __GLIBC__
  throw Error(Fault::kLoader, "load", subject,
              "this C library has no filters (DT_FILTER), by which it would be bound to the image "
              "of another handle");
#endif
  const LoadedObjects loaded = LoadedObjects::List();
  StubRequest request;
  for (const ProvidedObject& object : objects) {
    LoaderHandle handle = Hold(loaded, object.loader_name);
    if (handle == nullptr) {
      throw Error(Fault::kLoader, "load", subject,
                  "the image that it is to be bound to is not loaded any more");
    }
    handles_.push_back(std::move(handle));
    if (const LoadedObject* stub = loaded.Find(object.name)) {
      if (!stub->needed.empty() && stub->needed.front() == object.loader_name) continue;
      throw Error(Fault::kStillLoaded, "load", subject,
                  "an image of the same private copy is still loaded, and bound to other images");
    }
    const StubFile& file = files_.emplace_back(StubRequest{
        .needed = {}, .soname = object.name, .filter = object.loader_name, .search_path = {}});
    request.needed.push_back(file.loader_name());
  }
  if (request.needed.empty()) return;
  stubs_.emplace(request, RTLD_LAZY | RTLD_LOCAL);
  if (!stubs_->loaded()) throw Error(Fault::kLoader, "load", subject, stubs_->refusal());
}

}  // namespace soswap
