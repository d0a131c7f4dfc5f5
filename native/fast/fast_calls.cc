// An addon of its own, for one release line of Node.js: functions that V8 calls from compiled code
// without a detour through Node-API. They check nothing: lib/call/fast-call.ts puts a JavaScript
// function around each that does. All of it is used on the JavaScript thread that it belongs to.

#include <node.h>

#include <array>
#include <bit>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "fast/fast_call.h"
#include "fast/outcome.h"
#include "fast/v8_fast_api.h"

namespace soswap {
namespace {

using Type = v8::CTypeInfo::Type;

// What belongs to one thread, and so to one isolate.
struct ThreadState {
  std::array<int32_t, 2> outcome;  // the second number counts calls of code that is not compiled
  std::optional<std::string> exception_text;
};

ThreadState& State() noexcept {
  thread_local ThreadState state{};
  return state;
}

// The receiver, and the halves of the target's address.
constexpr size_t kLeading = 3;

// One signature. Lives as long as the process, because compiled code and templates refer to it;
// there are as many as signatures that differ in what V8 sees of them.
struct Signature {
  Signature(Type result, std::vector<Type> types);

  Type result;
  std::vector<Type> types;  // of the arguments: integers first
  size_t integers = 0;
  std::vector<v8::CTypeInfo> infos;
  std::unique_ptr<v8::CFunctionInfo> info;
  std::unique_ptr<v8::CFunction> function;
};

bool IsFloating(Type type) noexcept { return type == Type::kFloat32 || type == Type::kFloat64; }

Signature::Signature(Type result_type, std::vector<Type> argument_types)
    : result(result_type), types(std::move(argument_types)) {
  infos = {v8::CTypeInfo(Type::kV8Value), v8::CTypeInfo(Type::kInt32), v8::CTypeInfo(Type::kInt32)};
  for (const Type type : types) {
    integers += IsFloating(type) ? 0 : 1;
    infos.emplace_back(type);
  }
  const v8::CTypeInfo result_info(result);
#if V8_MAJOR_VERSION < 12
  info = std::make_unique<v8::CFunctionInfo>(result_info, infos.size(), infos.data());
#else
  info = std::make_unique<v8::CFunctionInfo>(result_info, infos.size(), infos.data(),
                                             v8::CFunctionInfo::Int64Representation::kBigInt);
#endif
  function = std::make_unique<v8::CFunction>(
      FastCall(integers, types.size() - integers, IsFloating(result)), info.get());
}

std::optional<Type> TypeOf(char letter) noexcept {
  switch (letter) {
    case 'v':
      return Type::kVoid;
    case 'i':
      return Type::kInt32;
#if V8_MAJOR_VERSION >= 12
    case 'l':
      return Type::kInt64;
    case 'u':
      return Type::kUint64;
#endif
    case 'f':
      return Type::kFloat32;
    case 'd':
      return Type::kFloat64;
    default:
      return std::nullopt;
  }
}

// Null: V8 cannot be given this signature. `text` has a letter for the result and one for each
// argument.
const Signature* SignatureOf(const std::string& text) {
  static std::mutex mutex;
  static auto& known = *new std::unordered_map<std::string, std::unique_ptr<Signature>>();
  const std::lock_guard lock(mutex);
  if (const auto found = known.find(text); found != known.end()) return found->second.get();
  std::vector<Type> types;
  size_t floating = 0;
  for (const char letter : text) {
    const std::optional<Type> type = TypeOf(letter);
    if (!type) return nullptr;
    if (!types.empty()) {
      if (*type == Type::kVoid || (!IsFloating(*type) && floating > 0)) return nullptr;
      floating += IsFloating(*type) ? 1 : 0;
    }
    types.push_back(*type);
  }
  if (types.empty() || floating > kFloatingRegisters ||
      types.size() - 1 - floating > kIntegerRegisters) {
    return nullptr;
  }
  const Type result = types.front();
  types.erase(types.begin());
  return known.emplace(text, std::make_unique<Signature>(result, std::move(types)))
      .first->second.get();
}

uint64_t IntegerWord(v8::Local<v8::Value> value, Type type) {
  if (value->IsBigInt()) {
    return type == Type::kInt64 ? static_cast<uint64_t>(value.As<v8::BigInt>()->Int64Value())
                                : value.As<v8::BigInt>()->Uint64Value();
  }
  return value->IsInt32() ? static_cast<uint64_t>(value.As<v8::Int32>()->Value()) : 0;
}

uint64_t FloatingWord(v8::Local<v8::Value> value, Type type) {
  const double number = value->IsNumber() ? value.As<v8::Number>()->Value() : 0;
  return type == Type::kFloat32 ? std::bit_cast<uint32_t>(static_cast<float>(number))
                                : std::bit_cast<uint64_t>(number);
}

void Return(const v8::FunctionCallbackInfo<v8::Value>& info, Type type, CallResult result) {
  auto returned = info.GetReturnValue();
  switch (type) {
    case Type::kInt32:
      return returned.Set(static_cast<int32_t>(result.integer));
    case Type::kInt64:
      return returned.Set(v8::BigInt::New(info.GetIsolate(), static_cast<int64_t>(result.integer)));
    case Type::kUint64:
      return returned.Set(v8::BigInt::NewFromUnsigned(info.GetIsolate(), result.integer));
    case Type::kFloat32:
      return returned.Set(double{
          std::bit_cast<float>(static_cast<uint32_t>(std::bit_cast<uint64_t>(result.floating)))});
    case Type::kFloat64:
      return returned.Set(result.floating);
    default:
      return;
  }
}

// The same call from code that is not compiled.
void Interpreted(const v8::FunctionCallbackInfo<v8::Value>& info) {
  const auto& signature = *static_cast<const Signature*>(info.Data().As<v8::External>()->Value(
#if V8_MAJOR_VERSION >= 14
      v8::kExternalPointerTypeTagDefault
#endif
      ));
  if (static_cast<size_t>(info.Length()) != signature.types.size() + kLeading - 1) return;
  ++State().outcome[1];
  const CallTarget& target =
      TargetAt(info[0].As<v8::Int32>()->Value(), info[1].As<v8::Int32>()->Value());
  uint64_t words[kRegisterWords] = {};
  for (size_t index = 0; index < signature.types.size(); ++index) {
    const Type type = signature.types[index];
    const auto value = info[static_cast<int>(index + kLeading - 1)];
    if (IsFloating(type)) {
      words[kIntegerRegisters + index - signature.integers] = FloatingWord(value, type);
    } else {
      words[index] = IntegerWord(value, type);
    }
  }
  const size_t floating = signature.types.size() - signature.integers;
  const auto result = CallCounted<CallResult>(
      target, [&](void* address) { return soswap_call(address, words, 0, floating); });
  Return(info, signature.result, result);
}

v8::Local<v8::External> NewExternal(v8::Isolate* isolate, const void* pointer) {
  return v8::External::New(isolate, const_cast<void*>(pointer)
#if V8_MAJOR_VERSION >= 14
                                        ,
                           v8::kExternalPointerTypeTagDefault
#endif
  );
}

// make(letters): a function that takes the halves of a CallTarget's address, the integers and the
// floating-point numbers, and checks none of them. Undefined if there is none of this signature.
void Make(const v8::FunctionCallbackInfo<v8::Value>& info) {
  v8::Isolate* isolate = info.GetIsolate();
  const v8::String::Utf8Value letters(isolate, info[0]);
  const Signature* signature = SignatureOf(std::string(*letters, letters.length()));
  if (signature == nullptr) return;
  const auto made = v8::FunctionTemplate::New(
      isolate, Interpreted, NewExternal(isolate, signature), {}, 0, v8::ConstructorBehavior::kThrow,
      v8::SideEffectType::kHasSideEffect, signature->function.get());
  v8::Local<v8::Function> function;
  if (made->GetFunction(isolate->GetCurrentContext()).ToLocal(&function)) {
    info.GetReturnValue().Set(function);
  }
}

// takeExceptionText(): what the C++ exception of the last call says; null if it has no text.
void TakeExceptionText(const v8::FunctionCallbackInfo<v8::Value>& info) {
  const auto text = std::exchange(State().exception_text, std::nullopt);
  v8::Local<v8::String> string;
  if (text && v8::String::NewFromUtf8(info.GetIsolate(), text->data(), v8::NewStringType::kNormal,
                                      static_cast<int>(text->size()))
                  .ToLocal(&string)) {
    info.GetReturnValue().Set(string);
  } else {
    info.GetReturnValue().SetNull();
  }
}

// Whether V8 finds the parts of a signature where v8_fast_api.h has put them.
bool IsAsDeclared() {
  const Signature* signature = SignatureOf("diid");
  const v8::CTypeInfo* infos = signature->infos.data();
  for (unsigned index = 0; index < signature->infos.size(); ++index) {
    if (&signature->info->ArgumentInfo(index) != infos + index) return false;
  }
  return true;
}

}  // namespace

void Report(Outcome outcome) noexcept { State().outcome[0] = static_cast<int32_t>(outcome); }

void ReportException() {
#if V8_MAJOR_VERSION >= 13
  // V8 throws what a callback into JavaScript has left pending, and nobody reads the outcome.
  if (v8::Isolate::GetCurrent()->HasPendingException()) return;
#endif
  State().exception_text.reset();
  try {
    throw;
  } catch (const std::exception& exception) {
    State().exception_text = exception.what();
  } catch (...) {
    // It has no text.
  }
  Report(Outcome::kException);
}

}  // namespace soswap

NODE_MODULE_INIT(/* exports, module, context */) {
  v8::Isolate* isolate = v8::Isolate::GetCurrent();
  const auto set = [&](const char* name, v8::Local<v8::Value> value) {
    const auto key = v8::String::NewFromUtf8(isolate, name).ToLocalChecked();
    exports->Set(context, key, value).Check();
  };
  const auto method = [&](v8::FunctionCallback callback) {
    return v8::Function::New(context, callback).ToLocalChecked();
  };
  auto& outcome = soswap::State().outcome;
  auto memory = v8::ArrayBuffer::NewBackingStore(
      outcome.data(), sizeof(outcome), [](void*, size_t, void*) {}, nullptr);
  const auto buffer = v8::ArrayBuffer::New(isolate, std::move(memory));
  set("outcome", v8::Int32Array::New(buffer, 0, outcome.size()));
  set("make", method(soswap::Make));
  set("takeExceptionText", method(soswap::TakeExceptionText));
  set("isAsDeclared", v8::Boolean::New(isolate, soswap::IsAsDeclared()));
}
