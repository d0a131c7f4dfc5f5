#include "binding/call/convert.h"

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

}  // namespace

TemporaryStrings::Outcome TemporaryStrings::AddLarge(napi_env env, napi_value value,
                                                     uint64_t* word) {
  size_t length = 0;
  napi_get_value_string_utf8(env, value, nullptr, 0, &length);
  char* copy = large_.emplace_back(new char[length + 1]).get();
  napi_get_value_string_utf8(env, value, copy, length + 1, &length);
  return Finish(copy, length, word);
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

bool ToAnyPointerWord(napi_env env, napi_value value, TemporaryStrings& strings, uint64_t* word) {
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
    case napi_object: {
      Memory memory;
      if (!GetMemory(env, value, &memory)) return false;
      *word = reinterpret_cast<uint64_t>(memory.data);
      return true;
    }
    default:
      return false;
  }
}

napi_value ToAnyResult(napi_env env, Type type, CallResult result) {
  napi_value value = nullptr;
  switch (type) {
    case Type::kVoid:
      break;
    case Type::kChar:
      napi_create_int32(env, static_cast<char>(result.integer), &value);
      break;
    case Type::kInt8:
      napi_create_int32(env, static_cast<int8_t>(result.integer), &value);
      break;
    case Type::kUint8:
    case Type::kBool:
      napi_create_uint32(env, static_cast<uint8_t>(result.integer), &value);
      break;
    case Type::kInt16:
      napi_create_int32(env, static_cast<int16_t>(result.integer), &value);
      break;
    case Type::kUint16:
      napi_create_uint32(env, static_cast<uint16_t>(result.integer), &value);
      break;
    case Type::kInt32:
      napi_create_int32(env, static_cast<int32_t>(result.integer), &value);
      break;
    case Type::kUint32:
      napi_create_uint32(env, static_cast<uint32_t>(result.integer), &value);
      break;
    case Type::kInt64:
      napi_create_bigint_int64(env, static_cast<int64_t>(result.integer), &value);
      break;
    case Type::kFloat32: {
      const auto low = static_cast<uint32_t>(std::bit_cast<uint64_t>(result.floating));
      napi_create_double(env, std::bit_cast<float>(low), &value);
      break;
    }
    case Type::kFloat64:
      napi_create_double(env, result.floating, &value);
      break;
    case Type::kString:
      if (result.integer == 0) {
        napi_get_null(env, &value);
      } else if (napi_create_string_utf8(env, reinterpret_cast<const char*>(result.integer),
                                         NAPI_AUTO_LENGTH, &value) != napi_ok) {
        ThrowStringTooLong(env);
      }
      break;
    case Type::kUint64:
    case Type::kPointer:
    case Type::kBuffer:
    case Type::kArrayBuffer:
    case Type::kFunction:
      napi_create_bigint_uint64(env, result.integer, &value);
      break;
  }
  return value;
}

}  // namespace soswap
