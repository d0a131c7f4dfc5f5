#pragma once

#include <napi.h>

#include <memory>

#include "slots.h"

namespace soswap {

// lib/native.ts: NativeSlots.
class SlotsWrap final : public Napi::ObjectWrap<SlotsWrap> {
 public:
  static constexpr const char* kName = "Slots";

  static void Init(Napi::Env env, Napi::Object exports);

  explicit SlotsWrap(const Napi::CallbackInfo& info);

 private:
  Napi::Value Bind(const Napi::CallbackInfo& info);
  Napi::Value Commit(const Napi::CallbackInfo& info);
  void Detach(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);
  Napi::Value InFlight(const Napi::CallbackInfo& info);

  std::shared_ptr<SlotTable> table_;
};

}  // namespace soswap
