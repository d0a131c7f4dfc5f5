#pragma once

#include <node_api.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#include <vector>

#include "binding/call/call_error.h"
#include "binding/call/signature.h"

// How JavaScript values become words of a call frame, and results become JavaScript values. Nothing
// in here runs JavaScript: no valueOf(), no getter, no proxy trap. What a word must look like is
// told at CallPlan::word().

namespace soswap {

inline constexpr double kMaxSafeInteger = 9007199254740991;  // Number.MAX_SAFE_INTEGER

constexpr bool IsPointerLike(Type type) { return type >= Type::kPointer; }
constexpr bool IsNarrow(Type type) { return type >= Type::kBool && type <= Type::kUint32; }

// What an integer of 32 bits or less may be.
struct IntegerRange {
  double least;
  double greatest;
};

template <typename Integer>
constexpr IntegerRange RangeOf() {
  return {std::numeric_limits<Integer>::min(), std::numeric_limits<Integer>::max()};
}

inline constexpr std::array<IntegerRange, 8> kNarrowRanges = {
    RangeOf<uint8_t>(),  // bool
    RangeOf<char>(),     RangeOf<int8_t>(),  RangeOf<uint8_t>(), RangeOf<int16_t>(),
    RangeOf<uint16_t>(), RangeOf<int32_t>(), RangeOf<uint32_t>()};

constexpr IntegerRange NarrowRange(Type type) {
  return kNarrowRanges[static_cast<size_t>(type) - static_cast<size_t>(Type::kBool)];
}

// An integral number within `range`, sign-extended. -0 is 0.
inline bool ToNarrowWord(napi_env env, napi_value value, IntegerRange range, uint64_t* word) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) return false;
  if (!(number >= range.least && number <= range.greatest)) return false;  // NaN neither
  const auto integer = static_cast<int64_t>(number);
  *word = static_cast<uint64_t>(integer);
  return static_cast<double>(integer) == number;
}

// An integral number that is exact, or a bigint within the range of `Integer`.
template <typename Integer>
bool ToWideWord(napi_env env, napi_value value, uint64_t* word) {
  constexpr double kLeast = std::is_signed_v<Integer> ? -kMaxSafeInteger : 0;
  double number;
  if (napi_get_value_double(env, value, &number) == napi_ok) {
    if (!(number >= kLeast && number <= kMaxSafeInteger)) return false;
    const auto integer = static_cast<int64_t>(number);
    *word = static_cast<uint64_t>(integer);
    return static_cast<double>(integer) == number;
  }
  bool lossless = false;
  if constexpr (std::is_signed_v<Integer>) {
    int64_t integer;
    if (napi_get_value_bigint_int64(env, value, &integer, &lossless) != napi_ok) return false;
    *word = static_cast<uint64_t>(integer);
  } else {
    if (napi_get_value_bigint_uint64(env, value, word, &lossless) != napi_ok) return false;
  }
  return lossless;
}

// Any type but void and the pointer-like ones. False: the value does not fit; no exception is
// pending.
inline bool ToScalarWord(napi_env env, napi_value value, Type type, uint64_t* word) {
  switch (type) {
    case Type::kFloat64: {
      double number;
      if (napi_get_value_double(env, value, &number) != napi_ok) return false;
      *word = std::bit_cast<uint64_t>(number);
      return true;
    }
    case Type::kFloat32: {
      double number;
      if (napi_get_value_double(env, value, &number) != napi_ok) return false;
      *word = std::bit_cast<uint32_t>(static_cast<float>(number));
      return true;
    }
    case Type::kInt64:
      return ToWideWord<int64_t>(env, value, word);
    case Type::kUint64:
      return ToWideWord<uint64_t>(env, value, word);
    default:
      return ToNarrowWord(env, value, NarrowRange(type), word);
  }
}

// The strings of one call: UTF-8, NUL-terminated, gone when the call has returned. Short ones need
// no memory but the caller's stack.
class TemporaryStrings final {
 public:
  enum class Outcome { kCopied, kNotAString, kContainsNul };

  TemporaryStrings() = default;
  TemporaryStrings(const TemporaryStrings&) = delete;
  TemporaryStrings& operator=(const TemporaryStrings&) = delete;
  ~TemporaryStrings() = default;

  // Puts the address of the copy into `word`. A lone surrogate becomes U+FFFD.
  Outcome Add(napi_env env, napi_value value, uint64_t* word) {
    char* copy = small_ + used_;
    const size_t room = sizeof(small_) - used_;  // never less than kLongestCharacter
    size_t length;
    if (napi_get_value_string_utf8(env, value, copy, room, &length) != napi_ok) {
      return Outcome::kNotAString;
    }
    // A copy that leaves room for another character is complete.
    if (length + kLongestCharacter >= room) return AddLarge(env, value, word);
    used_ += length + 1;
    return Finish(copy, length, word);
  }

 private:
  static constexpr size_t kLongestCharacter = 4;  // in bytes

  static Outcome Finish(const char* copy, size_t length, uint64_t* word) {
    *word = reinterpret_cast<uint64_t>(copy);
    const bool contains_nul = std::memchr(copy, '\0', length) != nullptr;
    return contains_nul ? Outcome::kContainsNul : Outcome::kCopied;
  }

  Outcome AddLarge(napi_env env, napi_value value, uint64_t* word);

  std::vector<std::unique_ptr<char[]>> large_;
  size_t used_ = 0;
  alignas(16) char small_[256];
};

// The memory behind a typed array, DataView or ArrayBuffer. `arraybuffer` is what backs it, and may
// be a SharedArrayBuffer if the value is a view.
struct Memory {
  uint8_t* data = nullptr;
  size_t offset = 0;  // of `data` in `arraybuffer`
  napi_value arraybuffer = nullptr;
};

// False: the value is none of these, or it is detached.
bool GetMemory(napi_env env, napi_value value, Memory* memory);

// Of a value that has memory. Not for the way of every call.
size_t ByteLength(napi_env env, napi_value value);

// ToPointerWord() for any value.
bool ToAnyPointerWord(napi_env env, napi_value value, TemporaryStrings& strings, uint64_t* word);

// A pointer-like type. All of them take the same values; the type says which to expect. The address
// of an object's memory is good for as long as JavaScript can reach the object and does not run.
// False as with ToScalarWord().
inline bool ToPointerWord(napi_env env, napi_value value, Type type, TemporaryStrings& strings,
                          uint64_t* word) {
  if (type == Type::kString) {
    const auto outcome = strings.Add(env, value, word);
    if (outcome != TemporaryStrings::Outcome::kNotAString) {
      return outcome == TemporaryStrings::Outcome::kCopied;
    }
  } else if (type == Type::kBuffer) {
    // Each thing that Node-API is asked for costs something: not GetMemory() at once.
    size_t length;
    void* data;
    if (napi_get_typedarray_info(env, value, nullptr, &length, &data, nullptr, nullptr) ==
            napi_ok &&
        length > 0) {
      *word = reinterpret_cast<uint64_t>(data);
      return true;
    }
  }
  return ToAnyPointerWord(env, value, strings, word);
}

// ToResult() for any type.
napi_value ToAnyResult(napi_env env, Type type, CallResult result);

// The JavaScript value of what a call returned. A string is copied at once, because the bytes may
// lie in an image that a swap unmaps. Null is undefined, or an exception is pending.
[[gnu::always_inline]] inline napi_value ToResult(napi_env env, Type type, CallResult result) {
  // The commonest first: a branch that always goes the same way costs less than the jump of a
  // switch.
  napi_value value = nullptr;
  if (type == Type::kVoid) return value;
  if (type == Type::kInt32) {
    napi_create_int32(env, static_cast<int32_t>(result.integer), &value);
    return value;
  }
  if (type == Type::kFloat64) {
    napi_create_double(env, result.floating, &value);
    return value;
  }
  return ToAnyResult(env, type, result);
}

}  // namespace soswap
