#include "binding/call/slots_wrap.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "binding/addon_data.h"
#include "binding/call/bound_function.h"
#include "binding/call/call_error.h"
#include "binding/call/signature.h"
#include "binding/convert_js.h"
#include "binding/handed_js.h"
#include "binding/js_error.h"

namespace soswap {
namespace {

constexpr napi_type_tag kTag{0x52b1d6a09c3f4e87, 0xb7a4c8e1f06d2953};

// An Int32Array of this one number, which lives as long as the array.
template <typename Owner>
Napi::Int32Array ArrayOver(Napi::Env env, void* number, std::shared_ptr<Owner> owner) {
  auto memory = Napi::ArrayBuffer::New(
      env, number, sizeof(int32_t),
      [](Napi::Env, void*, std::shared_ptr<Owner>* held) { delete held; },
      new std::shared_ptr<Owner>(std::move(owner)));
  return Napi::Int32Array::New(env, 1, memory, 0);
}

const Slot& SlotAt(const BoundTable& table, const Napi::Value& index) {
  const Slot* slot = index.IsNumber() ? table.At(index.As<Napi::Number>().Uint32Value()) : nullptr;
  if (slot == nullptr) throw Napi::TypeError::New(index.Env(), "no such slot");
  return *slot;
}

}  // namespace

void SlotsWrap::Init(Napi::Env env, Napi::Object exports) {
  exports["Slots"] = DefineClass(
      env, "Slots",
      {InstanceMethod<&SlotsWrap::Bind>("bind"),
       InstanceMethod<&SlotsWrap::BoundTarget>("boundTarget"),
       InstanceMethod<&SlotsWrap::Running>("running"),
       InstanceMethod<&SlotsWrap::LastExchange>("lastExchange"),
       InstanceMethod<&SlotsWrap::Supervise>("supervise"),
       InstanceMethod<&SlotsWrap::EndSupervision>("endSupervision"),
       InstanceMethod<&SlotsWrap::Give>("give"), InstanceMethod<&SlotsWrap::Close>("close"),
       InstanceMethod<&SlotsWrap::Hold>("hold"), InstanceMethod<&SlotsWrap::Release>("release"),
       InstanceMethod<&SlotsWrap::NextSettled>("nextSettled"),
       InstanceMethod<&SlotsWrap::Settled>("settled"), InstanceMethod<&SlotsWrap::Refer>("refer"),
       InstanceMethod<&SlotsWrap::AddressOf>("addressOf"),
       InstanceMethod<&SlotsWrap::Refuse>("refuse"), InstanceMethod<&SlotsWrap::Changes>("changes"),
       InstanceMethod<&SlotsWrap::Calls>("calls")});
  exports["exchange"] = Napi::Function::New<&SlotsWrap::Exchange>(env, "exchange");
}

SlotsWrap* SlotsWrap::From(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTag)) {
    throw Napi::TypeError::New(value.Env(), "not native Slots");
  }
  return Unwrap(value.As<Napi::Object>());
}

BoundTable& SlotsWrap::Get(const Napi::Value& value) { return *From(value)->table_; }

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

// boundTarget(): the address of what the function reads that was made last, its CallTarget. The
// function keeps it alive.
Napi::Value SlotsWrap::BoundTarget(const Napi::CallbackInfo& info) {
  const CallTarget* target = table_->size() > 0 ? table_->At(table_->size() - 1) : nullptr;
  return Napi::Number::New(info.Env(), static_cast<double>(reinterpret_cast<uintptr_t>(target)));
}

// refer(symbol, optional): the number of a new slot without a function.
Napi::Value SlotsWrap::Refer(const Napi::CallbackInfo& info) {
  table_->Add(info[0].As<Napi::String>(), {}, info[1].ToBoolean(), false);
  return Napi::Number::New(info.Env(), static_cast<double>(table_->size() - 1));
}

// addressOf(slot): the address; undefined if there is none.
Napi::Value SlotsWrap::AddressOf(const Napi::CallbackInfo& info) {
  const Slot& slot = SlotAt(*table_, info[0]);
  if (slot.address == nullptr) return info.Env().Undefined();
  return Napi::BigInt::New(info.Env(), reinterpret_cast<uint64_t>(slot.address));
}

// refuse(slot): throws why there is no address.
void SlotsWrap::Refuse(const Napi::CallbackInfo& info) {
  const Slot& slot = SlotAt(*table_, info[0]);
  ThrowUnavailable(info.Env(), slot, "use " + slot.symbol);
}

// changes(): how often the slots were pointed elsewhere, as an Int32Array of one number.
Napi::Value SlotsWrap::Changes(const Napi::CallbackInfo& info) {
  return ArrayOver(info.Env(), table_->changes().get(), table_->changes());
}

// calls(): the calls in flight in the current image, the same. Undefined if there is none.
Napi::Value SlotsWrap::Calls(const Napi::CallbackInfo& info) {
  if (table_->image() == nullptr) return info.Env().Undefined();
  std::shared_ptr<CallCount> calls = table_->image()->shared_calls();
  int32_t* number = calls->number();
  return ArrayOver(info.Env(), number, std::move(calls));
}

// Reads lib/native/types.ts: ExchangeRequest, from the argument `first` on.
ExchangePart SlotsWrap::PartOf(const Napi::CallbackInfo& info, size_t first) {
  IdTable<Image>& images = library_->images;
  const std::string closing = info[first + 2].As<Napi::String>();
  const uint32_t next_id = info[first + 3].As<Napi::Number>();
  ExchangePlan plan{.previous = images.Find(info[first + 1].As<Napi::Number>()),
                    .close_previous = closing != "none",
                    .force = closing == "in-any-case",
                    .next = images.Find(next_id),
                    .to_open = std::nullopt,
                    .given = nullptr};
  if (plan.next == nullptr) plan.to_open = ToImageRequest(info, first + 4, *library_);
  if (plan.previous == nullptr) {
    plan.close_previous = false;  // a swap has failed before, and left none
    plan.given = given_;
  } else if (plan.close_previous && plan.previous->calls().value() > 0) {
    throw Napi::Error::New(info.Env(), "calls are in flight in this image");
  }
  if (plan.to_open && plan.to_open->mapping == ImageRequest::Mapping::kFile) {
    Translating(info.Env(), [&] { AssertUnchanged(plan.to_open->origin); });
  }
  return {.slots = *table_, .plan = std::move(plan)};
}

// exchange(…ExchangeRequest, …): the facts of the next images; null if lastExchange() of one of the
// slots has more to say. Throws only as long as nothing has changed.
Napi::Value SlotsWrap::Exchange(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  constexpr size_t kArguments = 10;  // of each part
  std::vector<ExchangePart> parts;
  std::vector<Member> members;
  parts.reserve(info.Length() / kArguments);
  members.reserve(info.Length() / kArguments);
  for (size_t first = 0; first < info.Length(); first += kArguments) {
    SlotsWrap* slots = From(info[first]);
    if (slots->exchanging_) throw Napi::Error::New(env, "an exchange is under way");
    parts.push_back(slots->PartOf(info, first));
    members.push_back(
        {slots, info[first + 1].As<Napi::Number>(), info[first + 3].As<Napi::Number>()});
  }
  for (const Member& member : members) member.slots->library_->images.Reserve(member.next_id);

  // From here on nothing takes memory but the exchange itself, which does not throw.
  for (size_t index = 0; index < parts.size(); ++index) {
    auto& [slots, previous_id, next_id] = members[index];
    slots->exchanging_ = true;
    // First forgotten, then closed: a destructor of the library may call back into JavaScript.
    if (parts[index].plan.close_previous) slots->library_->images.Put(previous_id, nullptr);
  }
  ExchangeImages(parts);
  for (size_t index = 0; index < parts.size(); ++index) {
    members[index].slots->Take(std::move(parts[index].result), members[index].previous_id,
                               members[index].next_id);
  }
  const auto is_plain = [](const Member& member) { return member.slots->last_.IsPlain(); };
  if (!std::all_of(members.begin(), members.end(), is_plain)) return env.Null();
  Napi::Array facts = Napi::Array::New(env, members.size());
  for (uint32_t index = 0; index < members.size(); ++index) {
    facts.Set(index, ToImageFacts(env, *members[index].slots->last_.image));
    members[index].slots->last_ = {};
  }
  return facts;
}

void SlotsWrap::Take(ExchangeResult result, uint32_t previous_id, uint32_t next_id) {
  IdTable<Image>& images = library_->images;
  last_ = std::move(result);
  given_ = std::move(last_.unclaimed);
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
      images.Put(previous_id, table_->image());  // it was taken out, to be closed
      break;
    case ExchangeResult::Running::kNothing:
      running_ = 0;
      break;
  }
  for (const uint32_t id : {previous_id, next_id}) {
    if (images.Find(id) == nullptr) images.Remove(id);
  }
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
  facts.Set("absent", ToArray(env, last_.found.absent));
  facts.Set("missing", ToArray(env, last_.found.missing));
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

// supervise(observer): calls observer(symbol, error, result) after each call of a bound function,
// until endSupervision(), the next exchange or close(); `error` or `result` is undefined.
void SlotsWrap::Supervise(const Napi::CallbackInfo& info) { table_->Observe(info.Env(), info[0]); }

// endSupervision()
void SlotsWrap::EndSupervision(const Napi::CallbackInfo&) { table_->EndObservation(); }

// give(handed): what the first image begins with.
void SlotsWrap::Give(const Napi::CallbackInfo& info) { given_ = HandedFrom(info[0]); }

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

// settled(): a call that JavaScript has counted itself has settled.
void SlotsWrap::Settled(const Napi::CallbackInfo& info) { table_->ResolveSettled(info.Env()); }

}  // namespace soswap
