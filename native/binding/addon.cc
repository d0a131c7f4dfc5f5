#include <napi.h>

#include "binding/addon_data.h"
#include "binding/call/slots_wrap.h"
#include "binding/dl_wrap.h"
#include "binding/handed_js.h"
#include "binding/js_error.h"
#include "binding/library_wrap.h"
#include "binding/loaded_wrap.h"
#include "binding/system_wrap.h"
#include "core/loader/loader_turn.h"

namespace {

// initialize(SoError, Error, TypeError): must come before any other call.
void Initialize(const Napi::CallbackInfo& info) {
  auto& data = *info.Env().GetInstanceData<soswap::AddonData>();
  data.so_error = Napi::Persistent(info[0].As<Napi::Function>());
  data.error = Napi::Persistent(info[1].As<Napi::Function>());
  data.type_error = Napi::Persistent(info[2].As<Napi::Function>());
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  soswap::ExitWithoutLoader();
  auto* data = new soswap::AddonData();
  env.SetInstanceData(data);
  // Hooks run the last one first: by then every work on another thread has ended or was left to its
  // thread, whose hook was added when it began, and no finalizer has run yet.
  env.AddCleanupHook([owned = data->owned] { owned->CloseAll(); });
  env.AddCleanupHook([data] { data->children.EndAll(); });
  exports["initialize"] = Napi::Function::New<Initialize>(env, "initialize");
  soswap::LibraryWrap::Init(env, exports);
  soswap::SlotsWrap::Init(env, exports);
  soswap::InitLoaded(env, exports);
  soswap::InitSystem(env, exports);
  soswap::InitDl(env, exports);
  soswap::InitHanded(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(soswap, Init)
