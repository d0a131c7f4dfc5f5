#pragma once

#include <napi.h>

#include <memory>

#include "binding/call/slots.h"
#include "binding/library_wrap.h"

namespace soswap {

// lib/native/addon.ts: NativeSlots.
class SlotsWrap final : public Napi::ObjectWrap<SlotsWrap> {
 public:
  static void Init(Napi::Env env, Napi::Object exports);

  // The table behind a JavaScript value, or a TypeError for anything but Slots.
  static SlotTable& Get(const Napi::Value& value);

  explicit SlotsWrap(const Napi::CallbackInfo& info);

 private:
  Napi::Value Bind(const Napi::CallbackInfo& info);
  Napi::Value Commit(const Napi::CallbackInfo& info);
  void Detach(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);
  void Hold(const Napi::CallbackInfo& info);
  void Release(const Napi::CallbackInfo& info);
  Napi::Value NextSettled(const Napi::CallbackInfo& info);

  std::shared_ptr<SlotTable> table_;
  std::shared_ptr<LibraryObjects> library_;
};

}  // namespace soswap
