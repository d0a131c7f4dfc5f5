#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/loader/dl.h"
#include "core/loader/stub_object.h"

namespace soswap {

// A loaded object that is to be what a name in DT_NEEDED means.
struct ProvidedObject {
  std::string name;         // the text of a ProvidedName
  std::string loader_name;  // of the loaded object
};

// While this exists, an object that the loader opens and that needs one of these names gets the
// loaded object, whatever other objects are called. Then the opened object keeps the loaded one, as
// it keeps every dependency.
//
// The loader compares a name in DT_NEEDED with the SONAMEs of the loaded objects (elf/dl-load.c,
// _dl_map_object). So for each name a stub is loaded that has it as its SONAME. The stub is a
// filter of the loaded object, which it names as the loader does: the loader puts a filtee right
// before its filter in the search order (elf/dl-deps.c, DT_FILTER), so the symbols are found as if
// the object needed the loaded one itself. If the stub needed it, the dependencies of the object
// would come first. A stub defines no version, which satisfies DT_VERNEED (elf/dl-version.c);
// whether a symbol has its version is seen when it is bound.
class ProvidedObjects final {
 public:
  // `subject` is the path of the library that will be opened, for messages. Throws Error: kLoader
  // if one of the objects is not loaded any more, kStillLoaded if an image of the same copy is
  // still loaded, and bound to other objects, kSystem. Any thread.
  ProvidedObjects(const std::string& subject, std::span<const ProvidedObject> objects);

  ProvidedObjects(const ProvidedObjects&) = delete;
  ProvidedObjects& operator=(const ProvidedObjects&) = delete;
  ~ProvidedObjects() = default;

 private:
  std::vector<LoaderHandle> handles_;
  std::vector<StubFile> files_;
  // Needs the stubs. A filter is not opened by itself: its filtee would lead its own search list,
  // where the loader expects the filter.
  std::optional<StubObject> stubs_;
};

}  // namespace soswap
