#include "binding/call/signature.h"

#include <array>
#include <span>

namespace soswap {
namespace {

Type ReadType(const Napi::Value& code) {
  const double number = code.IsNumber() ? code.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0 && number < kTypeCount)) {
    throw Napi::TypeError::New(code.Env(), "not the code of a type");
  }
  return static_cast<Type>(static_cast<uint32_t>(number));
}

ArgumentClass ClassOf(Type type) {
  return type == Type::kFloat32 || type == Type::kFloat64 ? ArgumentClass::kFloating
                                                          : ArgumentClass::kInteger;
}

}  // namespace

const char* TypeName(Type type) noexcept {
  static constexpr std::array<const char*, kTypeCount> kNames = {
      "void",    "bool",    "char",   "int8",   "uint8",       "int16",
      "uint16",  "int32",   "uint32", "int64",  "uint64",      "float32",
      "float64", "pointer", "string", "buffer", "arraybuffer", "function"};
  return kNames[static_cast<size_t>(type)];
}

Signature ReadSignature(const Napi::Value& encoded) {
  const Napi::Env env = encoded.Env();
  if (!encoded.IsObject()) throw Napi::TypeError::New(env, "not an encoded signature");
  const auto object = encoded.As<Napi::Object>();
  const Napi::Value types = object.Get("argumentTypes");
  if (!types.IsArray()) throw Napi::TypeError::New(env, "not a list of types");

  Signature signature;
  signature.return_type = ReadType(object.Get("returnType"));
  signature.reports_errno = object.Get("errno").ToBoolean();
  signature.nonblocking = object.Get("nonblocking").ToBoolean();

  const auto list = types.As<Napi::Array>();
  const uint32_t count = list.Length();
  std::vector<ArgumentClass> classes;
  signature.argument_types.reserve(count);
  classes.reserve(count);
  for (uint32_t index = 0; index < count; ++index) {
    const Type type = ReadType(list.Get(index));
    if (type == Type::kVoid) throw Napi::TypeError::New(env, "an argument cannot be void");
    signature.argument_types.push_back(type);
    classes.push_back(ClassOf(type));
  }
  signature.plan = CallPlan(classes);
  return signature;
}

}  // namespace soswap
