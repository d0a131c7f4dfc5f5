#include "slots_wrap.h"

#include <string>
#include <utility>
#include <vector>

#include "bound_function.h"
#include "image_wrap.h"

namespace soswap {
namespace {

Napi::Array ToArray(Napi::Env env, const std::vector<std::string>& names) {
  Napi::Array array = Napi::Array::New(env, names.size());
  for (uint32_t index = 0; index < names.size(); ++index) array[index] = names[index];
  return array;
}

}  // namespace

void SlotsWrap::Init(Napi::Env env, Napi::Object exports) {
  exports["Slots"] = DefineClass(
      env, kName,
      {InstanceMethod<&SlotsWrap::Bind>("bind"), InstanceMethod<&SlotsWrap::Commit>("commit"),
       InstanceMethod<&SlotsWrap::Detach>("detach"), InstanceMethod<&SlotsWrap::Close>("close"),
       InstanceAccessor<&SlotsWrap::InFlight>("inFlight")});
}

// new Slots(path)
SlotsWrap::SlotsWrap(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<SlotsWrap>(info),
      table_(std::make_shared<SlotTable>(info[0].As<Napi::String>())) {}

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
  const std::vector<std::string> missing = table_->Commit(ImageWrap::Get(info[0]), absent);
  Napi::Object result = Napi::Object::New(env);
  result["missing"] = ToArray(env, missing);
  result["absent"] = ToArray(env, absent);
  return result;
}

// detach(): from here to the next commit every call throws ERR_SOSWAP_NOT_LOADED.
void SlotsWrap::Detach(const Napi::CallbackInfo&) { table_->Detach(SlotTable::State::kUnloaded); }

// close(): every call throws ERR_SOSWAP_CLOSED.
void SlotsWrap::Close(const Napi::CallbackInfo&) { table_->Detach(SlotTable::State::kClosed); }

Napi::Value SlotsWrap::InFlight(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), table_->in_flight());
}

}  // namespace soswap
