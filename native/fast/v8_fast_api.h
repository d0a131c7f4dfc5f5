#pragma once

#include <v8-version.h>

#include <cstdint>

// The part of V8's v8-fast-api-calls.h that is needed here. Node.js exports the functions and ships
// v8.h, which names the class CFunction, but not this header. It differs between releases of V8,
// and so does this one; CheckLayout() of fast_calls.cc compares it with the functions at run time.

namespace v8 {

// What one argument or the result is.
class CTypeInfo final {
 public:
  enum class Type : uint8_t {
    kVoid = 0,
    kInt32 = 3,
    kInt64 = 5,
    kUint64 = 6,
    kFloat32 = 7,
    kFloat64 = 8,
    kV8Value = 10,
  };

  constexpr CTypeInfo() = default;
  constexpr explicit CTypeInfo(Type type) : type_(type) {}

 private:
  [[maybe_unused]] Type type_ = Type::kVoid;
#if V8_MAJOR_VERSION < 14
  [[maybe_unused]] uint8_t sequence_type_ = 0;  // no sequence
#endif
  [[maybe_unused]] uint8_t flags_ = 0;
};

#if V8_MAJOR_VERSION < 14
static_assert(sizeof(CTypeInfo) == 3);
#else
static_assert(sizeof(CTypeInfo) == 2);
#endif

// The signature of a C function. Keeps the pointer to `arguments`, of which the first is the
// receiver.
class CFunctionInfo final {
 public:
#if V8_MAJOR_VERSION < 12
  CFunctionInfo(const CTypeInfo& result, unsigned count, const CTypeInfo* arguments);
#else
  enum class Int64Representation : uint8_t { kNumber, kBigInt };

  CFunctionInfo(const CTypeInfo& result, unsigned count, const CTypeInfo* arguments,
                Int64Representation representation);
#endif
  CFunctionInfo(const CFunctionInfo&) = delete;
  CFunctionInfo& operator=(const CFunctionInfo&) = delete;
  ~CFunctionInfo() = default;

  const CTypeInfo& ArgumentInfo(unsigned index) const;

 private:
  [[maybe_unused]] uint64_t room_[8];  // more than any release takes
};

// A C function and its signature. Keeps the pointers.
class CFunction final {
 public:
  CFunction(const void* address, const CFunctionInfo* signature);

 private:
  [[maybe_unused]] const void* address_;
  [[maybe_unused]] const CFunctionInfo* signature_;
};

}  // namespace v8
