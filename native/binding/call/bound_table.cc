#include "binding/call/bound_table.h"

#include <array>
#include <utility>

#include "binding/call/nonblocking_call.h"

namespace soswap {

BoundTable::BoundTable(std::string path) : SlotTable(std::move(path)) {}

BoundTable::~BoundTable() { EndObservation(); }

void BoundTable::Release() {
  held_ = false;
  for (auto& call : std::exchange(waiting_, {})) NonblockingCall::Begin(std::move(call));
}

void BoundTable::Begin(std::unique_ptr<NonblockingCall> call) {
  if (held_) {
    waiting_.push_back(std::move(call));
  } else {
    NonblockingCall::Begin(std::move(call));
  }
}

void BoundTable::Observe(napi_env env, napi_value observer) {
  EndObservation();
  observing_ = env;
  if (napi_create_reference(env, observer, 1, &observer_) == napi_ok) Supervise();
}

void BoundTable::EndObservation() noexcept {
  EndSupervision();
  if (observer_ != nullptr) napi_delete_reference(observing_, std::exchange(observer_, nullptr));
}

void BoundTable::TellObserver(napi_env env, const Slot& slot, napi_value result) {
  napi_value observer;
  if (observer_ == nullptr || napi_get_reference_value(env, observer_, &observer) != napi_ok)
    return;
  napi_value undefined;
  napi_get_undefined(env, &undefined);
  bool threw = false;
  napi_is_exception_pending(env, &threw);
  napi_value error = undefined;
  if (threw && napi_get_and_clear_last_exception(env, &error) != napi_ok) return;
  napi_value symbol;
  napi_create_string_utf8(env, slot.symbol.data(), slot.symbol.size(), &symbol);
  const std::array<napi_value, 3> told = {symbol, error,
                                          threw || result == nullptr ? undefined : result};
  napi_value ignored;
  napi_call_function(env, undefined, observer, told.size(), told.data(), &ignored);
  // On a full stack the observer cannot run; the call has its own result all the same.
  bool failed = false;
  napi_is_exception_pending(env, &failed);
  if (failed) napi_get_and_clear_last_exception(env, &ignored);
  if (threw) napi_throw(env, error);
}

napi_value BoundTable::NextSettled(napi_env env) {
  napi_deferred deferred;
  napi_value promise;
  if (napi_create_promise(env, &deferred, &promise) != napi_ok) return nullptr;
  settled_.push_back(deferred);
  return promise;
}

void BoundTable::ResolveSettled(napi_env env) {
  napi_value undefined;
  napi_get_undefined(env, &undefined);
  for (napi_deferred deferred : std::exchange(settled_, {})) {
    napi_resolve_deferred(env, deferred, undefined);
  }
}

}  // namespace soswap
