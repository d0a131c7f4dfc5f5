#pragma once

#include <napi.h>

namespace soswap {

// What Node lacks of the system.
void InitSystem(Napi::Env env, Napi::Object exports);

}  // namespace soswap
