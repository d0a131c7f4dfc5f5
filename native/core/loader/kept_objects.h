#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/loader/loaded_objects.h"

namespace soswap {

// Dependencies of images that soswap itself keeps loaded, for as long as the process lives: threads
// or destructors for the end of threads may still run their code when the image is gone that they
// were loaded for. One list for the process. Any thread.

// Whether its code may run by itself: on a thread that it starts, or at the end of one.
bool RunsByItself(const std::shared_ptr<const LoadedObject>& object);

void KeepLoaded(const LoadedObject& object);
bool IsKept(const std::string& loader_name);

}  // namespace soswap
