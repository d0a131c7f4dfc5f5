#pragma once

#include <napi.h>

namespace soswap {

// What one environment (the main thread or a worker) keeps; freed with it.
struct AddonData {
  Napi::FunctionReference so_error;
};

}  // namespace soswap
