#pragma once

#include <napi.h>

#include "core/image.h"
#include "wrap.h"

namespace soswap {

// lib/native.ts: NativeImage.
class ImageWrap final : public SharedWrap<ImageWrap, Image> {
 public:
  static constexpr napi_type_tag kTag{0x3c5a9e7d10b84f62, 0xa47fd2e8931c6b05};
  static constexpr const char* kName = "Image";

  static void Init(Napi::Env env, Napi::Object exports);

  explicit ImageWrap(const Napi::CallbackInfo& info);

 private:
  Napi::Value Symbol(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);
  Napi::Value Closed(const Napi::CallbackInfo& info);
};

}  // namespace soswap
