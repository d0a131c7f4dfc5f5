#pragma once

#include <node_api.h>

#include <cerrno>

namespace soswap {

// Around one call, on the thread of the call: errno is 0 when the call begins, and afterwards what
// it was before, so that a call inside of another one does not change what that one reports.
class FreshErrno final {
 public:
  FreshErrno() noexcept : before_(errno) { errno = 0; }
  FreshErrno(const FreshErrno&) = delete;
  FreshErrno& operator=(const FreshErrno&) = delete;
  ~FreshErrno() { errno = before_; }

 private:
  int before_;
};

// `{ value, errno }`. A null `value` is undefined. Null: an exception is pending.
inline napi_value WithErrno(napi_env env, napi_value value, int error_number) {
  napi_value object;
  napi_value number;
  if (value == nullptr && napi_get_undefined(env, &value) != napi_ok) return nullptr;
  if (napi_create_object(env, &object) != napi_ok ||
      napi_create_int32(env, error_number, &number) != napi_ok ||
      napi_set_named_property(env, object, "value", value) != napi_ok ||
      napi_set_named_property(env, object, "errno", number) != napi_ok) {
    return nullptr;
  }
  return object;
}

}  // namespace soswap
