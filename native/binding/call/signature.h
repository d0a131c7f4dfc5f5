#pragma once

#include <napi.h>

#include "core/call/signature.h"

namespace soswap {

// The name as in a definition.
const char* TypeName(Type type) noexcept;

// Reads `{ returnType, argumentTypes, nonblocking, errno }` as encodeSignature() of
// lib/call/signature.ts makes it. Throws a TypeError if a number in it is not a type.
Signature ReadSignature(const Napi::Value& encoded);

}  // namespace soswap
