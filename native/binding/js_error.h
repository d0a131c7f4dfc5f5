#pragma once

#include <napi.h>

#include <new>
#include <string>

#include "core/base/error.h"

namespace soswap {

// Makes `new SoError(code, message, path, symbol, { errno })`; an empty symbol and an errno of 0
// stay undefined.
Napi::Value MakeSoError(Napi::Env env, const char* code, const std::string& message,
                        const std::string& path, const std::string& symbol = "",
                        int error_number = 0);
Napi::Value MakeSoError(Napi::Env env, const Error& error);

// The same, thrown. Leaves an exception that is pending already as it is.
void ThrowSoError(napi_env env, const char* code, const std::string& message,
                  const std::string& path, const std::string& symbol = "");

// Throws an error of this class with a code.
void ThrowCoded(napi_env env, const Napi::FunctionReference& error_class, const char* code,
                const std::string& message);

// Runs `body` and throws what the core throws as a JavaScript error.
template <typename Body>
auto Translating(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Error& error) {
    throw Napi::Error(env, MakeSoError(env, error));
  } catch (const std::bad_alloc&) {
    throw Napi::Error(env, MakeSoError(env, "ERR_SOSWAP_SYSTEM", "there is no memory", ""));
  }
}

}  // namespace soswap
