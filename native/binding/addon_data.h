#pragma once

#include <napi.h>

#include <memory>
#include <unordered_map>

#include "binding/child_processes.h"
#include "binding/owned_objects.h"
#include "core/base/file_descriptor.h"
#include "core/base/work_threads.h"

namespace soswap {

// What one environment (the main thread or a worker) keeps; freed with it.
struct AddonData {
  // The classes of the errors, from the realm of the JavaScript that loaded the addon last: a test
  // runner may run it in another one than the environment began with.
  Napi::FunctionReference so_error;
  Napi::FunctionReference error;
  Napi::FunctionReference type_error;
  // Shared with the wraps, whose finalizers may run after this is gone.
  std::shared_ptr<OwnedObjects> owned = std::make_shared<OwnedObjects>();
  // By number. A worker may be terminated before its JavaScript gets to closing them.
  std::unordered_map<int, FileDescriptor> memory_files;
  ChildProcesses children;
  WorkThreads threads;
};

}  // namespace soswap
