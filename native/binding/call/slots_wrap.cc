#include "binding/call/slots_wrap.h"

#include <string>
#include <utility>
#include <vector>

#include "binding/call/bound_function.h"
#include "binding/convert_js.h"

namespace soswap {
namespace {

constexpr napi_type_tag kTag{0x52b1d6a09c3f4e87, 0xb7a4c8e1f06d2953};

}  // namespace

void SlotsWrap::Init(Napi::Env env, Napi::Object exports) {
  exports["Slots"] = DefineClass(
      env, "Slots",
      {InstanceMethod<&SlotsWrap::Bind>("bind"), InstanceMethod<&SlotsWrap::Commit>("commit"),
       InstanceMethod<&SlotsWrap::Detach>("detach"), InstanceMethod<&SlotsWrap::Close>("close"),
       InstanceMethod<&SlotsWrap::Hold>("hold"), InstanceMethod<&SlotsWrap::Release>("release"),
       InstanceMethod<&SlotsWrap::NextSettled>("nextSettled")});
}

SlotTable& SlotsWrap::Get(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTag)) {
    throw Napi::TypeError::New(value.Env(), "not native Slots");
  }
  return *Unwrap(value.As<Napi::Object>())->table_;
}

// new Slots(path, library)
SlotsWrap::SlotsWrap(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<SlotsWrap>(info),
      table_(std::make_shared<SlotTable>(info[0].As<Napi::String>())),
      library_(LibraryWrap::Get(info[1])) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

// bind(symbol, signature, optional): a new function, or null where the symbol is absent now.
Napi::Value SlotsWrap::Bind(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Slot* slot = table_->Add(info[0].As<Napi::String>(), ReadSignature(info[1]), info[2].ToBoolean());
  return Napi::Value(env, CreateBoundFunction(env, table_, slot));
}

// commit(image): points every bound function at the image. Returns { missing, absent }: with any
// name in `missing` nothing has changed; `absent` holds the optional symbols that this image lacks.
Napi::Value SlotsWrap::Commit(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::vector<std::string> absent;
  const std::vector<std::string> missing = table_->Commit(library_->images.Get(info[0]), absent);
  Napi::Object result = Napi::Object::New(env);
  result["missing"] = ToArray(env, missing);
  result["absent"] = ToArray(env, absent);
  return result;
}

// detach(): from here to the next commit every call throws ERR_SOSWAP_NOT_LOADED.
void SlotsWrap::Detach(const Napi::CallbackInfo&) { table_->Detach(SlotTable::State::kUnloaded); }

// close(): every call throws ERR_SOSWAP_CLOSED.
void SlotsWrap::Close(const Napi::CallbackInfo&) { table_->Detach(SlotTable::State::kClosed); }

// hold(): nonblocking calls made from now on wait for release().
void SlotsWrap::Hold(const Napi::CallbackInfo&) { table_->Hold(); }

// release(): begins the calls that wait, with what is loaded now.
void SlotsWrap::Release(const Napi::CallbackInfo&) { table_->Release(); }

// nextSettled(): a promise for the moment when the next nonblocking call has settled.
Napi::Value SlotsWrap::NextSettled(const Napi::CallbackInfo& info) {
  return Napi::Value(info.Env(), table_->NextSettled(info.Env()));
}

}  // namespace soswap
