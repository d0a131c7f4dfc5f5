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
    case Fault::kRefusedByLibrary:
      return "ERR_SOSWAP_REFUSED_BY_LIBRARY";
    case Fault::kHookThrew:
      return "ERR_SOSWAP_NATIVE_EXCEPTION";
    case Fault::kHostAbi:
      return "ERR_SOSWAP_HOST_ABI";
    case Fault::kKeptVariable:
      return "ERR_SOSWAP_KEPT_VARIABLE";
    case Fault::kStateTooLarge:
      return "ERR_SOSWAP_STATE_TOO_LARGE";
  }
  return "ERR_SOSWAP_SYSTEM";
}

}  // namespace

Napi::Value MakeSoError(Napi::Env env, const char* code, const std::string& message,
                        const std::string& path, const std::string& symbol, int error_number) {
  const Napi::Value symbol_value =
      symbol.empty() ? env.Undefined() : Napi::String::New(env, symbol).As<Napi::Value>();
  Napi::Object options = Napi::Object::New(env);
  if (error_number != 0) options.Set("errno", -error_number);
  return env.GetInstanceData<AddonData>()->so_error.New(
      {Napi::String::New(env, code), Napi::String::New(env, message), Napi::String::New(env, path),
       symbol_value, options});
}

Napi::Value MakeSoError(Napi::Env env, const Error& error) {
  return MakeSoError(env, CodeOf(error.fault()), error.what(), error.subject(), "",
                     error.error_number());
}

void ThrowSoError(napi_env env, const char* code, const std::string& message,
                  const std::string& path, const std::string& symbol) {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) return;
  const Napi::HandleScope scope(env);
  napi_throw(env, MakeSoError(env, code, message, path, symbol));
}

void ThrowCoded(napi_env env, const Napi::FunctionReference& error_class, const char* code,
                const std::string& message) {
  const Napi::HandleScope scope(env);
  Napi::Object error = error_class.New({Napi::String::New(env, message)});
  error["code"] = code;
  napi_throw(env, error);
}

}  // namespace soswap
