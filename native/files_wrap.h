#pragma once

#include <napi.h>

namespace soswap {

// What Node's fs lacks: the loader's search, and a name for a file that has none.
void InitFiles(Napi::Env env, Napi::Object exports);

}  // namespace soswap
