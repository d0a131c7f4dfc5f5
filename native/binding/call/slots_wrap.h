#pragma once

#include <napi.h>

#include <memory>

#include "binding/call/bound_table.h"
#include "binding/library_wrap.h"
#include "core/swap/exchange.h"

namespace soswap {

// lib/native/types.ts: NativeSlots.
class SlotsWrap final : public Napi::ObjectWrap<SlotsWrap> {
 public:
  static void Init(Napi::Env env, Napi::Object exports);

  // The table behind a JavaScript value, or a TypeError for anything but Slots.
  static BoundTable& Get(const Napi::Value& value);

  explicit SlotsWrap(const Napi::CallbackInfo& info);
  SlotsWrap(const SlotsWrap&) = delete;
  SlotsWrap& operator=(const SlotsWrap&) = delete;
  ~SlotsWrap() override;

 private:
  // The slots of a part of an exchange, and the numbers of its images.
  struct Member {
    SlotsWrap* slots;
    uint32_t previous_id;
    uint32_t next_id;
  };

  static SlotsWrap* From(const Napi::Value& value);

  ExchangePart PartOf(const Napi::CallbackInfo& info, size_t first);
  void Take(ExchangeResult result, uint32_t previous_id, uint32_t next_id);

  Napi::Value Bind(const Napi::CallbackInfo& info);
  Napi::Value BoundTarget(const Napi::CallbackInfo& info);
  Napi::Value Refer(const Napi::CallbackInfo& info);
  Napi::Value AddressOf(const Napi::CallbackInfo& info);
  void Refuse(const Napi::CallbackInfo& info);
  Napi::Value Changes(const Napi::CallbackInfo& info);
  Napi::Value Calls(const Napi::CallbackInfo& info);
  void Settled(const Napi::CallbackInfo& info);
  static Napi::Value Exchange(const Napi::CallbackInfo& info);
  Napi::Value Running(const Napi::CallbackInfo& info);
  Napi::Value LastExchange(const Napi::CallbackInfo& info);
  void Supervise(const Napi::CallbackInfo& info);
  void EndSupervision(const Napi::CallbackInfo& info);
  void Give(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);
  void Hold(const Napi::CallbackInfo& info);
  void Release(const Napi::CallbackInfo& info);
  Napi::Value NextSettled(const Napi::CallbackInfo& info);

  std::shared_ptr<BoundTable> table_;
  std::shared_ptr<LibraryObjects> library_;
  std::shared_ptr<OwnedObjects> owned_;
  uint32_t running_ = 0;  // the number of the image that the slots point at
  bool exchanging_ = false;
  ExchangeResult last_;
  std::shared_ptr<const HandedOver> given_;  // to the next image that follows none
};

}  // namespace soswap
