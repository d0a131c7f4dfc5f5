#include "binding/convert_js.h"

namespace soswap {

Napi::Value ToString(Napi::Env env, std::string_view text) {
  return Napi::String::New(env, text.data(), text.size());
}

Napi::Value StringOrNull(Napi::Env env, const std::optional<std::string>& text) {
  return text ? ToString(env, *text) : env.Null();
}

Napi::Array ToArray(Napi::Env env, const std::vector<std::string>& strings) {
  Napi::Array array = Napi::Array::New(env, strings.size());
  for (uint32_t index = 0; index < strings.size(); ++index)
    array.Set(index, ToString(env, strings[index]));
  return array;
}

Napi::Array ToArray(Napi::Env env, const std::vector<RetainReason>& reasons) {
  Napi::Array array = Napi::Array::New(env, reasons.size());
  for (uint32_t index = 0; index < reasons.size(); ++index) {
    Napi::Object reason = Napi::Object::New(env);
    reason.Set("code", ToString(env, reasons[index].code));
    reason.Set("detail", ToString(env, reasons[index].detail));
    array.Set(index, reason);
  }
  return array;
}

std::vector<RetainReason> ToRetainReasons(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<RetainReason> reasons;
  for (uint32_t index = 0; index < array.Length(); ++index) {
    const auto reason = array.Get(index).As<Napi::Object>();
    reasons.push_back(
        {reason.Get("code").As<Napi::String>(), reason.Get("detail").As<Napi::String>()});
  }
  return reasons;
}

std::vector<std::string> ToStrings(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<std::string> strings(array.Length());
  for (uint32_t index = 0; index < strings.size(); ++index) {
    strings[index] = array.Get(index).As<Napi::String>();
  }
  return strings;
}

Napi::Value ToObjectOrNull(Napi::Env env, const Resolved& resolved,
                           const std::vector<StaleImage>& stale) {
  if (resolved.missing.empty() && resolved.undefined.empty() && resolved.replaced.empty() &&
      stale.empty()) {
    return env.Null();
  }
  Napi::Array undefined = Napi::Array::New(env, resolved.undefined.size());
  for (uint32_t index = 0; index < resolved.undefined.size(); ++index) {
    const UndefinedSymbol& symbol = resolved.undefined[index];
    Napi::Object entry = Napi::Object::New(env);
    entry["name"] = symbol.name;
    entry["version"] = symbol.version;
    entry["neededBy"] = symbol.needed_by;
    undefined[index] = entry;
  }
  Napi::Object object = Napi::Object::New(env);
  object["missing"] = ToArray(env, resolved.missing);
  object["undefined"] = undefined;
  object["replaced"] = ToArray(env, resolved.replaced);
  Napi::Array images = Napi::Array::New(env, stale.size());
  for (uint32_t index = 0; index < stale.size(); ++index) {
    const StaleImage& image = stale[index];
    Napi::Object entry = Napi::Object::New(env);
    entry["path"] = image.path;
    entry["generation"] = image.generation;
    entry["givenUp"] = image.given_up;
    entry["neededBy"] = ToArray(env, image.needed_by);
    images[index] = entry;
  }
  object["stale"] = images;
  return object;
}

}  // namespace soswap
