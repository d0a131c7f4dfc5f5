#pragma once

#include <napi.h>

namespace soswap {

// The raw calls of dlopen(3), for soswap/dl. Nothing is checked but the types.
void InitDl(Napi::Env env, Napi::Object exports);

}  // namespace soswap
