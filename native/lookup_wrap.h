#pragma once

#include <napi.h>

namespace soswap {

// Where the loader finds libraries.
void InitLookup(Napi::Env env, Napi::Object exports);

}  // namespace soswap
