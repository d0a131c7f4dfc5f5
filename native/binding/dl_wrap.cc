#include "binding/dl_wrap.h"

#include <dlfcn.h>

#include <memory>
#include <optional>
#include <string>

#include "binding/call/bound_function.h"
#include "binding/call/bound_table.h"
#include "binding/call/signature.h"
#include "binding/js_error.h"
#include "core/loader/dl.h"

namespace soswap {
namespace {

[[noreturn]] void ThrowLoaderText(Napi::Env env, const std::string& path,
                                  const std::string& symbol) {
  throw Napi::Error(env, MakeSoError(env, "ERR_SOSWAP_LOADER", LoaderText(), path, symbol));
}

void* ToPointer(const Napi::Value& value) {
  bool lossless = false;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): handles and addresses travel as bigint.
  return reinterpret_cast<void*>(value.As<Napi::BigInt>().Uint64Value(&lossless));
}

Napi::Value ToBigInt(Napi::Env env, void* pointer) {
  return Napi::BigInt::New(env, static_cast<uint64_t>(reinterpret_cast<uintptr_t>(pointer)));
}

// dlopen(path | null, flags)
Napi::Value Open(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::optional<std::string> path;
  if (info[0].IsString()) path = info[0].As<Napi::String>().Utf8Value();
  const int flags = info[1].As<Napi::Number>();
  void* handle = dlopen(path ? path->c_str() : nullptr, flags);
  if (handle == nullptr) ThrowLoaderText(env, path.value_or(""), "");
  return ToBigInt(env, handle);
}

// dlsym(handle, symbol)
Napi::Value Symbol(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string symbol = info[1].As<Napi::String>();
  dlerror();
  void* address = dlsym(ToPointer(info[0]), symbol.c_str());
  // Null is also the value that some symbols have; only dlerror(3) tells the two apart.
  if (address == nullptr) {
    const char* text = dlerror();
    if (text != nullptr) {
      throw Napi::Error(env, MakeSoError(env, "ERR_SOSWAP_MISSING_SYMBOL", text, "", symbol));
    }
  }
  return ToBigInt(env, address);
}

// dlclose(handle)
Napi::Value Close(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), dlclose(ToPointer(info[0])));
}

// functionAt(address, name, signature)
Napi::Value FunctionAt(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto table = std::make_shared<BoundTable>("");
  Slot* slot = table->Add(info[1].As<Napi::String>(), ReadSignature(info[2]), false);
  slot->address = ToPointer(info[0]);
  return Napi::Value(env, CreateBoundFunction(env, table, slot));
}

}  // namespace

void InitDl(Napi::Env env, Napi::Object exports) {
  exports["dlopen"] = Napi::Function::New<Open>(env, "dlopen");
  exports["dlsym"] = Napi::Function::New<Symbol>(env, "dlsym");
  exports["dlclose"] = Napi::Function::New<Close>(env, "dlclose");
  exports["functionAt"] = Napi::Function::New<FunctionAt>(env, "functionAt");
}

}  // namespace soswap
