// The other limit that bench/calls.ts compares with: what V8 itself takes to call these functions
// from compiled code. Nothing is checked, nothing is counted, no exception is caught, and each is
// called through a pointer that dlsym(3) found.

#include <dlfcn.h>
#include <node.h>

#include "fast/v8_fast_api.h"

namespace {

using Type = v8::CTypeInfo::Type;

void (*call_noop)();
int32_t (*call_add)(int32_t, int32_t);
int64_t (*call_add64)(int64_t, int64_t);
double (*call_mul)(double, double);

void Noop(void*) { call_noop(); }
int32_t Add(void*, int32_t a, int32_t b) { return call_add(a, b); }
int64_t Add64(void*, int64_t a, int64_t b) { return call_add64(a, b); }
double Mul(void*, double a, double b) { return call_mul(a, b); }

// What is measured is compiled: this one is never to be timed.
void Interpreted(const v8::FunctionCallbackInfo<v8::Value>&) {}

template <size_t kCount>
void Set(v8::Local<v8::Object> exports, v8::Local<v8::Context> context, const char* name,
         const void* address, Type result, const Type (&arguments)[kCount]) {
  v8::Isolate* isolate = v8::Isolate::GetCurrent();
  auto* infos = new v8::CTypeInfo[kCount];
  for (size_t index = 0; index < kCount; ++index) infos[index] = v8::CTypeInfo(arguments[index]);
  auto* signature = new v8::CFunctionInfo(v8::CTypeInfo(result), kCount, infos
#if V8_MAJOR_VERSION >= 12
                                          ,
                                          v8::CFunctionInfo::Int64Representation::kBigInt
#endif
  );
  auto* function = new v8::CFunction(address, signature);
  const auto made =
      v8::FunctionTemplate::New(isolate, Interpreted, {}, {}, 0, v8::ConstructorBehavior::kThrow,
                                v8::SideEffectType::kHasSideEffect, function);
  exports
      ->Set(context, v8::String::NewFromUtf8(isolate, name).ToLocalChecked(),
            made->GetFunction(context).ToLocalChecked())
      .Check();
}

void Load(const v8::FunctionCallbackInfo<v8::Value>& info) {
  const v8::String::Utf8Value path(info.GetIsolate(), info[0]);
  void* library = dlopen(*path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return;
  const auto find = [&](auto& pointer, const char* name) {
    pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(dlsym(library, name));
  };
  find(call_noop, "noop");
  find(call_add, "add");
  find(call_add64, "add64");
  find(call_mul, "mul");
}

}  // namespace

NODE_MODULE_INIT(/* exports, module, context */) {
  const Type receiver = Type::kV8Value;
  const auto address = [](auto function) { return reinterpret_cast<const void*>(function); };
  Set(exports, context, "noop", address(&Noop), Type::kVoid, {receiver});
  Set(exports, context, "add", address(&Add), Type::kInt32, {receiver, Type::kInt32, Type::kInt32});
#if V8_MAJOR_VERSION >= 12
  Set(exports, context, "add64", address(&Add64), Type::kInt64,
      {receiver, Type::kInt64, Type::kInt64});
#endif
  Set(exports, context, "mul", address(&Mul), Type::kFloat64,
      {receiver, Type::kFloat64, Type::kFloat64});
  const auto load = v8::Function::New(context, Load).ToLocalChecked();
  exports->Set(context, v8::String::NewFromUtf8Literal(v8::Isolate::GetCurrent(), "load"), load)
      .Check();
}
