#include "convert.h"

#include <cstring>

namespace soswap {
namespace {

bool IsDetached(napi_env env, napi_value arraybuffer) {
  bool detached = false;
  napi_is_detached_arraybuffer(env, arraybuffer, &detached);
  return detached;
}

// A typed array is by far the most common object, so it is asked for first and with one call.
bool TypedArrayMemory(napi_env env, napi_value value, Memory* memory, size_t* length) {
  return napi_get_typedarray_info(env, value, nullptr, length,
                                  reinterpret_cast<void**>(&memory->data), &memory->arraybuffer,
                                  &memory->offset) == napi_ok;
}

bool OtherMemory(napi_env env, napi_value value, Memory* memory, size_t* length) {
  bool yes = false;
  if (napi_is_dataview(env, value, &yes) == napi_ok && yes) {
    return napi_get_dataview_info(env, value, length, reinterpret_cast<void**>(&memory->data),
                                  &memory->arraybuffer, &memory->offset) == napi_ok;
  }
  // A bare SharedArrayBuffer is refused, as node:ffi refuses it.
  if (napi_is_arraybuffer(env, value, &yes) == napi_ok && yes) {
    memory->arraybuffer = value;
    return napi_get_arraybuffer_info(env, value, reinterpret_cast<void**>(&memory->data), length) ==
           napi_ok;
  }
  return false;
}

bool ToMemoryWord(napi_env env, napi_value value, uint64_t* word) {
  // Each thing that Node-API is asked for costs something, so not GetMemory() at once.
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, nullptr, &length, &data, nullptr, nullptr) == napi_ok &&
      length > 0) {
    *word = reinterpret_cast<uint64_t>(data);
    return true;
  }
  Memory memory;
  if (!GetMemory(env, value, &memory)) return false;
  *word = reinterpret_cast<uint64_t>(memory.data);
  return true;
}

}  // namespace

TemporaryStrings::Outcome TemporaryStrings::Add(napi_env env, napi_value value, uint64_t* word) {
  // A character takes up to four bytes, so a copy that leaves that many free is complete.
  constexpr size_t kLongestCharacter = 4;
  char* copy = small_ + used_;
  const size_t room = sizeof(small_) - used_;
  size_t length = 0;
  if (room > kLongestCharacter) {
    if (napi_get_value_string_utf8(env, value, copy, room, &length) != napi_ok) {
      return Outcome::kNotAString;
    }
  }
  if (length + kLongestCharacter < room) {
    used_ += length + 1;
  } else {
    if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) {
      return Outcome::kNotAString;
    }
    copy = large_.emplace_back(new char[length + 1]).get();
    napi_get_value_string_utf8(env, value, copy, length + 1, &length);
  }
  if (std::memchr(copy, '\0', length) != nullptr) return Outcome::kContainsNul;
  *word = reinterpret_cast<uint64_t>(copy);
  return Outcome::kCopied;
}

bool GetMemory(napi_env env, napi_value value, Memory* memory) {
  size_t length = 0;  // in elements or in bytes; what is detached has none
  if (!TypedArrayMemory(env, value, memory, &length) && !OtherMemory(env, value, memory, &length)) {
    return false;
  }
  return length > 0 || !IsDetached(env, memory->arraybuffer);
}

size_t ByteLength(napi_env env, napi_value value) {
  // Node-API counts typed arrays in elements, and what an element of a newer kind takes it does not
  // tell. Its notion of a buffer covers all views, in bytes.
  bool is_view = false;
  size_t length = 0;
  napi_is_buffer(env, value, &is_view);
  if (is_view) {
    napi_get_buffer_info(env, value, nullptr, &length);
  } else {
    napi_get_arraybuffer_info(env, value, nullptr, &length);
  }
  return length;
}

bool ToPointerWord(napi_env env, napi_value value, Type type, TemporaryStrings& strings,
                   uint64_t* word) {
  // All pointer-like types accept the same values; the type says which to expect.
  if (type == Type::kString) {
    const auto outcome = strings.Add(env, value, word);
    if (outcome != TemporaryStrings::Outcome::kNotAString) {
      return outcome == TemporaryStrings::Outcome::kCopied;
    }
  } else if (type == Type::kBuffer && ToMemoryWord(env, value, word)) {
    return true;
  }

  napi_valuetype kind;
  if (napi_typeof(env, value, &kind) != napi_ok) return false;
  switch (kind) {
    case napi_undefined:
    case napi_null:
      *word = 0;
      return true;
    case napi_bigint: {
      bool lossless = false;
      return napi_get_value_bigint_uint64(env, value, word, &lossless) == napi_ok && lossless;
    }
    case napi_string:
      return strings.Add(env, value, word) == TemporaryStrings::Outcome::kCopied;
    case napi_object:
      return ToMemoryWord(env, value, word);
    default:
      return false;
  }
}

}  // namespace soswap
