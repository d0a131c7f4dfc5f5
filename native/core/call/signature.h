#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include "core/call/call_frame.h"

namespace soswap {

// The types of node:ffi. lib/call/signature.ts sends these numbers: the order is part of the
// contract.
enum class Type : uint8_t {
  kVoid,
  kBool,
  kChar,
  kInt8,
  kUint8,
  kInt16,
  kUint16,
  kInt32,
  kUint32,
  kInt64,
  kUint64,
  kFloat32,
  kFloat64,
  kPointer,
  kString,
  kBuffer,
  kArrayBuffer,
  kFunction,
};
inline constexpr uint32_t kTypeCount = static_cast<uint32_t>(Type::kFunction) + 1;

// C leaves it to the platform whether char has a sign: it has on x86-64 and has not on arm64.
inline constexpr Type kCharAs = std::is_signed_v<char> ? Type::kInt8 : Type::kUint8;

// What a symbol is called with, and how.
struct Signature {
  Type return_type = Type::kVoid;
  std::vector<Type> argument_types;
  bool nonblocking = false;
  bool reports_errno = false;  // the call returns errno beside its value
  CallPlan plan;
};

}  // namespace soswap
