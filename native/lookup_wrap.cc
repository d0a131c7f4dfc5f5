#include "lookup_wrap.h"

#include "core/library_search.h"
#include "js_error.h"

namespace soswap {
namespace {

// findLibrary(name)
Napi::Value Find(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return Translating(env, [&]() -> Napi::Value {
    return Napi::String::New(env, FindLibrary(info[0].As<Napi::String>()));
  });
}

}  // namespace

void InitLookup(Napi::Env env, Napi::Object exports) {
  exports["findLibrary"] = Napi::Function::New<Find>(env, "findLibrary");
}

}  // namespace soswap
