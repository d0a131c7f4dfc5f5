#pragma once

#include <napi.h>

#include <unordered_map>

#include "core/base/file_descriptor.h"
#include "core/base/work_threads.h"

namespace soswap {

// What one environment (the main thread or a worker) keeps; freed with it.
struct AddonData {
  Napi::FunctionReference so_error;
  // By number. A worker may be terminated before its JavaScript gets to closing them.
  std::unordered_map<int, FileDescriptor> memory_files;
  WorkThreads threads;
};

}  // namespace soswap
