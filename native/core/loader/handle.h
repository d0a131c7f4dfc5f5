#pragma once

#include <dlfcn.h>

#include <memory>

namespace soswap {

struct HandleCloser {
  void operator()(void* handle) const noexcept { dlclose(handle); }
};

// A handle of dlopen(3), closed with its owner.
using LoaderHandle = std::unique_ptr<void, HandleCloser>;

}  // namespace soswap
