#include "binding/handed_js.h"

#include <utility>
#include <vector>

#include "core/life/hook_log.h"

namespace soswap {
namespace {

using Shared = std::shared_ptr<const HandedOver>;

// handedState(state, version): the bytes of a Uint8Array, for a first image.
Napi::Value HandedState(const Napi::CallbackInfo& info) {
  const auto array = info[0].As<Napi::Uint8Array>();
  const auto* bytes = reinterpret_cast<const std::byte*>(array.Data());
  HandedOver handed;
  handed.state = State{{bytes, bytes + array.ByteLength()}, info[1].As<Napi::Number>()};
  return ToExternal(info.Env(), std::move(handed));
}

// stateOf(handed): [state, version]; null if it has no state.
Napi::Value StateOf(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Shared handed = HandedFrom(info[0]);
  if (handed == nullptr || !handed->state) return env.Null();
  const State& state = *handed->state;
  Napi::Array pair = Napi::Array::New(env, 2);
  pair[0U] = Napi::Buffer<char>::Copy(env, reinterpret_cast<const char*>(state.bytes.data()),
                                      state.bytes.size());
  pair[1U] = state.version;
  return pair;
}

// takeHookLines(): [path, generation, text][] of this thread; null if there are none.
Napi::Value TakeLines(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::vector<HookLine> lines = TakeHookLines();
  if (lines.empty()) return env.Null();
  Napi::Array array = Napi::Array::New(env, lines.size());
  for (uint32_t index = 0; index < lines.size(); ++index) {
    const auto& [path, generation, text] = lines[index];
    Napi::Array line = Napi::Array::New(env, 3);
    line[0U] = path;
    line[1U] = generation;
    line[2U] = text;
    array[index] = line;
  }
  return array;
}

}  // namespace

Napi::Value ToExternal(Napi::Env env, HandedOver handed) {
  return Napi::External<Shared>::New(
      env, new Shared(std::make_shared<const HandedOver>(std::move(handed))),
      [](Napi::Env, const Shared* held) { delete held; });
}

Shared HandedFrom(const Napi::Value& value) {
  return value.IsExternal() ? *value.As<Napi::External<Shared>>().Data() : nullptr;
}

void InitHanded(Napi::Env env, Napi::Object exports) {
  exports["handedState"] = Napi::Function::New<HandedState>(env, "handedState");
  exports["stateOf"] = Napi::Function::New<StateOf>(env, "stateOf");
  exports["takeHookLines"] = Napi::Function::New<TakeLines>(env, "takeHookLines");
}

}  // namespace soswap
