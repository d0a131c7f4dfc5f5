#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "core/loader/unload.h"

// Lists that pass between C++ and JavaScript.

namespace soswap {

Napi::Array ToArray(Napi::Env env, const std::vector<std::string>& strings);

// As lib/image/image-info.ts: RetainReason[].
Napi::Array ToArray(Napi::Env env, const std::vector<RetainReason>& reasons);
std::vector<RetainReason> ToRetainReasons(const Napi::Value& value);

}  // namespace soswap
