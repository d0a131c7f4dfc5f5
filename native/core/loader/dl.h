#pragma once

#include <dlfcn.h>

#include <memory>
#include <optional>
#include <string>

namespace soswap {

// Helpers for callers of dlopen(3) and its family. Any thread.

// Why the last call failed. Must follow that call at once: dlerror(3) keeps one text for each
// thread, and the next call replaces it.
std::string LoaderText();

// The address of a symbol, as dlsym(3) finds it, or dlvsym(3) if `version` is not empty; nullopt if
// it is undefined. A defined symbol may have the address null.
std::optional<void*> FindSymbol(void* handle, const char* name, const char* version = "");

struct LoaderHandleCloser {
  void operator()(void* handle) const noexcept { dlclose(handle); }
};

// Owns a handle that dlopen(3) returned.
using LoaderHandle = std::unique_ptr<void, LoaderHandleCloser>;

}  // namespace soswap
