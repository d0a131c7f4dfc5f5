#pragma once

#include <napi.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/image/loaded_images.h"
#include "core/loader/unload.h"
#include "core/resolve/inspected_snapshot.h"

// Texts and lists that pass between C++ and JavaScript.

namespace soswap {

// A Value, because Object::Set() would turn a String into a std::string first.
Napi::Value ToString(Napi::Env env, std::string_view text);
Napi::Value StringOrNull(Napi::Env env, const std::optional<std::string>& text);
Napi::Array ToArray(Napi::Env env, const std::vector<std::string>& strings);
std::vector<std::string> ToStrings(const Napi::Value& value);

// As lib/image/image-info.ts: RetainReason[].
Napi::Array ToArray(Napi::Env env, const std::vector<RetainReason>& reasons);
std::vector<RetainReason> ToRetainReasons(const Napi::Value& value);

// As lib/native/types.ts: Resolution; null if nothing was found.
Napi::Value ToObjectOrNull(Napi::Env env, const Resolved& resolved,
                           const std::vector<StaleImage>& stale);

}  // namespace soswap
