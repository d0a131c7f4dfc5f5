#pragma once

#include <napi.h>

namespace soswap {

// The process-wide list of images.
void InitLoaded(Napi::Env env, Napi::Object exports);

}  // namespace soswap
