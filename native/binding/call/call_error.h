#pragma once

#include <node_api.h>

#include <cstddef>
#include <string>

#include "binding/call/bound_table.h"

// What a call throws when it was called wrongly: a TypeError with the code ERR_INVALID_ARG_VALUE,
// as node:ffi throws. Nothing here is on the way of a call that goes well.

namespace soswap {

void ThrowArgumentCount(napi_env env, const Slot& slot, size_t got);

// There is nothing to use. `what` says what cannot be done: "call add()".
void ThrowUnavailable(napi_env env, const Slot& slot, const std::string& what);

// Nothing is loaded, or the number of arguments is wrong. The first is looked at first, as in
// node:ffi.
void ThrowRefusal(napi_env env, const Slot& slot, size_t argument_count);

// Says what `value` should have been to be the argument `index`.
void ThrowArgument(napi_env env, const Slot& slot, size_t index, napi_value value);

// The called function threw a C++ exception. `what` is null if the exception has no text.
void ThrowNativeException(napi_env env, const Slot& slot, const char* what);

void ThrowOutOfMemory(napi_env env, const Slot& slot);

// For a returned string that is longer than a JavaScript string can be.
void ThrowStringTooLong(napi_env env);

}  // namespace soswap
