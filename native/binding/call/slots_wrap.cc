#include "binding/call/slots_wrap.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "binding/addon_data.h"
#include "binding/call/bound_function.h"
#include "binding/call/signature.h"
#include "binding/convert_js.h"
#include "binding/js_error.h"

namespace soswap {
namespace {

constexpr napi_type_tag kTag{0x52b1d6a09c3f4e87, 0xb7a4c8e1f06d2953};

}  // namespace

void SlotsWrap::Init(Napi::Env env, Napi::Object exports) {
  exports["Slots"] = DefineClass(
      env, "Slots",
      {InstanceMethod<&SlotsWrap::Bind>("bind"), InstanceMethod<&SlotsWrap::Exchange>("exchange"),
       InstanceMethod<&SlotsWrap::Running>("running"),
       InstanceMethod<&SlotsWrap::LastExchange>("lastExchange"),
       InstanceMethod<&SlotsWrap::Close>("close"), InstanceMethod<&SlotsWrap::Hold>("hold"),
       InstanceMethod<&SlotsWrap::Release>("release"),
       InstanceMethod<&SlotsWrap::NextSettled>("nextSettled")});
}

BoundTable& SlotsWrap::Get(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTag)) {
    throw Napi::TypeError::New(value.Env(), "not native Slots");
  }
  return *Unwrap(value.As<Napi::Object>())->table_;
}

// new Slots(path, library)
SlotsWrap::SlotsWrap(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<SlotsWrap>(info),
      table_(std::make_shared<BoundTable>(info[0].As<Napi::String>())),
      library_(LibraryWrap::Get(info[1])),
      owned_(info.Env().GetInstanceData<AddonData>()->owned) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
  owned_->Add(table_);
}

SlotsWrap::~SlotsWrap() { owned_->Remove(table_); }

// bind(symbol, signature, optional): a new function.
Napi::Value SlotsWrap::Bind(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Slot* slot = table_->Add(info[0].As<Napi::String>(), ReadSignature(info[1]), info[2].ToBoolean());
  return Napi::Value(env, CreateBoundFunction(env, table_, slot));
}

// exchange(previous, closing, next, …ImageRequest): the facts of the next image;
// null if lastExchange() has more to say. Throws only as long as nothing has changed.
Napi::Value SlotsWrap::Exchange(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  IdTable<Image>& images = library_->images;
  const uint32_t previous_id = info[0].As<Napi::Number>();
  const std::string closing = info[1].As<Napi::String>();
  const uint32_t next_id = info[2].As<Napi::Number>();
  if (exchanging_) throw Napi::Error::New(env, "an exchange is under way");
  ExchangePlan plan{.previous = images.Find(previous_id),
                    .close_previous = closing != "none",
                    .force = closing == "in-any-case",
                    .next = images.Find(next_id),
                    .to_open = std::nullopt};
  if (plan.next == nullptr) plan.to_open = ToImageRequest(info, 3, *library_);
  if (plan.previous == nullptr) {
    plan.close_previous = false;  // a swap has failed before, and left none
  } else if (plan.close_previous && plan.previous->calls().value() > 0) {
    throw Napi::Error::New(env, "calls are in flight in this image");
  }
  if (plan.to_open && plan.to_open->mapping == ImageRequest::Mapping::kFile) {
    Translating(env, [&] { AssertUnchanged(plan.to_open->origin); });
  }
  images.Reserve(next_id);

  // From here on nothing takes memory but the exchange itself, which does not throw.
  exchanging_ = true;
  // First forgotten, then closed: a destructor of the library may call back into JavaScript.
  if (plan.close_previous) images.Put(previous_id, nullptr);
  last_ = ExchangeImages(*table_, plan);
  exchanging_ = false;
  switch (last_.running) {
    case ExchangeResult::Running::kNext:
      running_ = next_id;
      images.Put(next_id, last_.image);
      break;
    case ExchangeResult::Running::kRestored:
      running_ = previous_id;
      images.Put(previous_id, last_.image);
      break;
    case ExchangeResult::Running::kPrevious:
      running_ = previous_id;
      break;
    case ExchangeResult::Running::kNothing:
      running_ = 0;
      break;
  }
  for (const uint32_t id : {previous_id, next_id}) {
    if (images.Find(id) == nullptr) images.Remove(id);
  }
  if (!last_.IsPlain()) return env.Null();
  const Napi::Object facts = ToImageFacts(env, *last_.image);
  last_ = {};
  return facts;
}

// running(): the image that the slots point at, 0 for none.
Napi::Value SlotsWrap::Running(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), running_);
}

// lastExchange(): lib/native/types.ts: ExchangeFacts; null if there is nothing to add.
Napi::Value SlotsWrap::LastExchange(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (last_.IsPlain()) {
    last_ = {};
    return env.Null();
  }
  const auto error = [&](const Failure& failure) {
    if (!failure.happened()) return env.Null();
    if (failure.error != nullptr) return MakeSoError(env, *failure.error);
    const std::string& path = table_->path();
    return MakeSoError(env, "ERR_SOSWAP_SYSTEM", "cannot load '" + path + "': " + failure.other,
                       path);
  };
  // Takes no memory but that of JavaScript where nothing failed.
  Napi::Object facts = Napi::Object::New(env);
  facts.Set("closed", last_.closed ? ToArray(env, *last_.closed).As<Napi::Value>() : env.Null());
  facts.Set("absent", ToArray(env, last_.absent));
  facts.Set("missing", ToArray(env, last_.missing));
  facts.Set("failure", error(last_.failure));
  facts.Set("leftOver", last_.left_over != nullptr
                            ? ToImageFacts(env, *last_.left_over).As<Napi::Value>()
                            : env.Null());
  facts.Set("restored",
            Napi::Boolean::New(env, last_.running == ExchangeResult::Running::kRestored));
  facts.Set("stateKept", Napi::Boolean::New(env, last_.state_kept));
  facts.Set("restoreFailure", error(last_.restore_failure));
  last_ = {};
  return facts;
}

// close(): every call throws ERR_SOSWAP_CLOSED.
void SlotsWrap::Close(const Napi::CallbackInfo&) {
  table_->Detach(SlotTable::State::kClosed);
  running_ = 0;
}

// hold(): nonblocking calls made from now on wait for release().
void SlotsWrap::Hold(const Napi::CallbackInfo&) { table_->Hold(); }

// release(): begins the calls that wait, with what is loaded now.
void SlotsWrap::Release(const Napi::CallbackInfo&) { table_->Release(); }

// nextSettled(): a promise for the moment when the next nonblocking call has settled.
Napi::Value SlotsWrap::NextSettled(const Napi::CallbackInfo& info) {
  return Napi::Value(info.Env(), table_->NextSettled(info.Env()));
}

}  // namespace soswap
