#include "core/loader/dl.h"

namespace soswap {

std::string LoaderText() {
  const char* text = dlerror();
  return text != nullptr ? text : "the loader gives no reason";
}

std::optional<void*> FindSymbol(void* handle, const char* name,
                                [[maybe_unused]] const char* version) {
  dlerror();
#ifdef __GLIBC__
  void* address = *version != '\0' ? dlvsym(handle, name, version) : dlsym(handle, name);
#else
  void* address = dlsym(handle, name);
#endif
  if (address == nullptr && dlerror() != nullptr) return std::nullopt;
  return address;
}

}  // namespace soswap
