#pragma once

#include <napi.h>

#include <memory>

#include "core/life/handed_over.h"

// What one image leaves for the next one, as JavaScript passes it on.

namespace soswap {

Napi::Value ToExternal(Napi::Env env, HandedOver handed);

// Null for undefined.
std::shared_ptr<const HandedOver> HandedFrom(const Napi::Value& value);

void InitHanded(Napi::Env env, Napi::Object exports);

}  // namespace soswap
