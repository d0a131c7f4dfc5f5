#include "binding/call/call_error.h"

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "binding/addon_data.h"
#include "binding/call/convert.h"
#include "binding/js_error.h"

namespace soswap {
namespace {

std::string Utf8(napi_env env, napi_value string, size_t limit) {
  std::string text(limit, '\0');
  size_t length = 0;
  napi_get_value_string_utf8(env, string, text.data(), limit, &length);
  text.resize(length);
  return text;
}

// Only for primitives: there is no toString() to run.
std::string PrimitiveText(napi_env env, napi_value primitive) {
  napi_value text;
  if (napi_coerce_to_string(env, primitive, &text) != napi_ok) return "a value";
  return Utf8(env, text, 100);
}

std::string NumberText(napi_env env, napi_value value) {
  double number = 0;
  napi_get_value_double(env, value, &number);
  return "the number " + PrimitiveText(env, value);
}

std::string BigintText(napi_env env, napi_value value) {
  // Writing a bigint of a million digits out takes seconds.
  size_t words = 0;
  napi_get_value_bigint_words(env, value, nullptr, &words, nullptr);
  if (words > 4) return "a bigint of more than " + std::to_string((words - 1) * 64) + " bits";
  return "the bigint " + PrimitiveText(env, value) + "n";
}

std::string StringText(napi_env env, napi_value value) {
  constexpr size_t kShown = 40;
  std::string text = Utf8(env, value, 4 * kShown);
  if (text.find('\0') != std::string::npos) return "a string with a NUL character in it";
  if (text.size() > kShown) {
    size_t end = kShown;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text = text.substr(0, end) + "…";
  }
  return "the string '" + text + "'";
}

std::string ObjectText(napi_env env, napi_value value) {
  using Check = napi_status (*)(napi_env, napi_value, bool*);
  struct Kind {
    Check check;
    const char* text;
  };
  static constexpr std::array<Kind, 6> kKinds = {{
      {napi_is_array, "an array"},
      {napi_is_typedarray, "a typed array"},
      {napi_is_dataview, "a DataView"},
      {napi_is_arraybuffer, "an ArrayBuffer"},
      {napi_is_promise, "a promise"},
      {napi_is_date, "a Date"},
  }};
  for (const Kind& kind : kKinds) {
    bool yes = false;
    if (kind.check(env, value, &yes) == napi_ok && yes) return kind.text;
  }
  return "an object";
}

std::string Describe(napi_env env, napi_value value) {
  napi_valuetype kind = napi_undefined;
  napi_typeof(env, value, &kind);
  switch (kind) {
    case napi_undefined:
    case napi_null:
    case napi_boolean:
      return PrimitiveText(env, value);
    case napi_number:
      return NumberText(env, value);
    case napi_bigint:
      return BigintText(env, value);
    case napi_string:
      return StringText(env, value);
    case napi_symbol:
      return "a symbol";
    case napi_function:
      return "a function";
    case napi_object:
      return ObjectText(env, value);
    case napi_external:
      return "a native object";
  }
  return "a value";
}

template <typename Integer>
std::string Range() {
  using Limits = std::numeric_limits<Integer>;
  return " from " + std::to_string(Limits::min()) + " to " + std::to_string(Limits::max());
}

std::string PointerLikeWanted(napi_env env, napi_value value) {
  napi_valuetype kind = napi_undefined;
  napi_typeof(env, value, &kind);
  if (kind == napi_string) return "a string without NUL characters";
  if (kind == napi_bigint) return "an address" + Range<uint64_t>();
  bool view = false;
  bool other = false;
  napi_is_typedarray(env, value, &view);
  if (!view) napi_is_dataview(env, value, &view);
  if (!view) napi_is_arraybuffer(env, value, &other);
  if (view || other) return "memory that is not detached";
  return "a string, Buffer, typed array, DataView, ArrayBuffer, bigint, null or undefined";
}

std::string Wanted(napi_env env, Type type, napi_value value) {
  switch (type) {
    case Type::kChar:
      return "an integer" + Range<char>();
    case Type::kInt8:
      return "an integer" + Range<int8_t>();
    case Type::kUint8:
      return "an integer" + Range<uint8_t>();
    case Type::kBool:
      return "an integer, 0 for false and 1 for true, at most 255";
    case Type::kInt16:
      return "an integer" + Range<int16_t>();
    case Type::kUint16:
      return "an integer" + Range<uint16_t>();
    case Type::kInt32:
      return "an integer" + Range<int32_t>();
    case Type::kUint32:
      return "an integer" + Range<uint32_t>();
    case Type::kInt64:
      return "a bigint or a safe integer" + Range<int64_t>();
    case Type::kUint64:
      return "a bigint or a safe integer" + Range<uint64_t>();
    case Type::kFloat32:
    case Type::kFloat64:
      return "a number";
    case Type::kVoid:
      break;
    case Type::kPointer:
    case Type::kString:
    case Type::kBuffer:
    case Type::kArrayBuffer:
    case Type::kFunction:
      return PointerLikeWanted(env, value);
  }
  return "a value";
}

// Throws an error, which is made in JavaScript. If that fails, throws why: a full stack. In an
// environment that is being torn down nothing can be thrown, and nobody is left to see it.
template <typename Throw>
void ThrowMade(const Throw& throw_it) {
  try {
    throw_it();
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  }
}

template <typename... Details>
void ThrowMade(napi_env env, const Details&... details) {
  ThrowMade([&] { ThrowSoError(env, details...); });
}

void ThrowTypeError(napi_env env, const std::string& message) {
  ThrowMade([&] {
    const auto& data = *Napi::Env(env).GetInstanceData<AddonData>();
    ThrowCoded(env, data.type_error, "ERR_INVALID_ARG_VALUE", message);
  });
}

}  // namespace

void ThrowUnavailable(napi_env env, const Slot& slot, const std::string& what) {
  const SlotTable& table = *slot.table;
  const std::string& path = table.path();
  const std::string cannot = "cannot " + what + ": ";
  switch (table.state()) {
    case SlotTable::State::kClosed:
      return ThrowMade(env, "ERR_SOSWAP_CLOSED", cannot + "the handle of '" + path + "' is closed",
                       path, slot.symbol);
    case SlotTable::State::kUnloaded:
      return ThrowMade(env, "ERR_SOSWAP_NOT_LOADED", cannot + "'" + path + "' has no image now",
                       path, slot.symbol);
    case SlotTable::State::kLoaded:
      return ThrowMade(env, "ERR_SOSWAP_MISSING_SYMBOL",
                       cannot + "'" + path + "' no longer has this symbol", path, slot.symbol);
  }
}

void ThrowArgumentCount(napi_env env, const Slot& slot, size_t got) {
  const size_t expected = slot.signature.argument_types.size();
  const std::string message =
      "cannot call " + slot.symbol + "(): it takes " + std::to_string(expected) +
      (expected == 1 ? " argument" : " arguments") + ", not " + std::to_string(got);
  ThrowTypeError(env, message);
}

void ThrowRefusal(napi_env env, const Slot& slot, size_t argument_count) {
  if (slot.address == nullptr) {
    ThrowUnavailable(env, slot, "call " + slot.symbol + "()");
  } else {
    ThrowArgumentCount(env, slot, argument_count);
  }
}

void ThrowArgument(napi_env env, const Slot& slot, size_t index, napi_value value) {
  const std::vector<Type>& types = slot.signature.argument_types;
  const std::string message = "cannot call " + slot.symbol + "(): argument " +
                              std::to_string(index + 1) + " of " + std::to_string(types.size()) +
                              " (" + TypeName(types[index]) + ") must be " +
                              Wanted(env, types[index], value) + ", not " + Describe(env, value);
  ThrowTypeError(env, message);
}

void ThrowNativeException(napi_env env, const Slot& slot, const char* what) {
  ThrowMade(env, "ERR_SOSWAP_NATIVE_EXCEPTION",
            slot.symbol + "() threw a C++ exception" + (what ? std::string(": ") + what : ""),
            slot.table->path(), slot.symbol);
}

void ThrowOutOfMemory(napi_env env, const Slot& slot) {
  ThrowMade(env, "ERR_SOSWAP_SYSTEM",
            "cannot call " + slot.symbol + "(): no memory for its arguments", slot.table->path(),
            slot.symbol);
}

void ThrowStringTooLong(napi_env env) {
  ThrowMade([&] {
    const auto& data = *Napi::Env(env).GetInstanceData<AddonData>();
    ThrowCoded(env, data.error, "ERR_STRING_TOO_LONG",
               "the returned string is too long for JavaScript");
  });
}

}  // namespace soswap
