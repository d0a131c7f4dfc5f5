#include "binding/js_error.h"

#include "binding/addon_data.h"

namespace soswap {
namespace {

const char* CodeOf(Fault fault) {
  switch (fault) {
    case Fault::kNotFound:
      return "ERR_SOSWAP_NOT_FOUND";
    case Fault::kNotAFile:
      return "ERR_SOSWAP_NOT_A_FILE";
    case Fault::kUnreadable:
      return "ERR_SOSWAP_UNREADABLE";
    case Fault::kChangedWhileRead:
      return "ERR_SOSWAP_BEING_WRITTEN";
    case Fault::kTruncated:
      return "ERR_SOSWAP_TRUNCATED";
    case Fault::kNotElf:
      return "ERR_SOSWAP_NOT_ELF";
    case Fault::kWrongMachine:
      return "ERR_SOSWAP_WRONG_MACHINE";
    case Fault::kNotSharedObject:
      return "ERR_SOSWAP_NOT_SHARED_OBJECT";
    case Fault::kMalformed:
      return "ERR_SOSWAP_MALFORMED";
    case Fault::kNoexec:
      return "ERR_SOSWAP_NOEXEC";
    case Fault::kNoProc:
      return "ERR_SOSWAP_NO_PROC";
    case Fault::kSharedName:
      return "ERR_SOSWAP_SHARED_NAME";
    case Fault::kMissingDependency:
      return "ERR_SOSWAP_MISSING_DEPENDENCY";
    case Fault::kStillLoaded:
      return "ERR_SOSWAP_STILL_LOADED";
    case Fault::kLoader:
      return "ERR_SOSWAP_LOADER";
    case Fault::kSystem:
      return "ERR_SOSWAP_SYSTEM";
  }
  return "ERR_SOSWAP_SYSTEM";
}

}  // namespace

void SetErrorClass(Napi::Env env, Napi::Function so_error) {
  env.GetInstanceData<AddonData>()->so_error = Napi::Persistent(so_error);
}

Napi::Value MakeSoError(Napi::Env env, const char* code, const std::string& message,
                        const std::string& path, const std::string& symbol) {
  const Napi::Value symbol_value =
      symbol.empty() ? env.Undefined() : Napi::String::New(env, symbol).As<Napi::Value>();
  return env.GetInstanceData<AddonData>()->so_error.New(
      {Napi::String::New(env, code), Napi::String::New(env, message), Napi::String::New(env, path),
       symbol_value});
}

Napi::Value MakeSoError(Napi::Env env, const Error& error) {
  return MakeSoError(env, CodeOf(error.fault()), error.what(), error.subject());
}

void ThrowSoError(napi_env env, const char* code, const std::string& message,
                  const std::string& path, const std::string& symbol) {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) return;
  const Napi::HandleScope scope(env);
  napi_throw(env, MakeSoError(env, code, message, path, symbol));
}

}  // namespace soswap
