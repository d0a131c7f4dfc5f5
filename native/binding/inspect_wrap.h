#pragma once

#include <napi.h>

#include "core/resolve/inspected_snapshot.h"

namespace soswap {

// lib/native/addon.ts: NativeInspection: all that a file tells, without loading it. Throws Error.
Napi::Object Inspect(Napi::Env env, const InspectedSnapshot& taken);

}  // namespace soswap
