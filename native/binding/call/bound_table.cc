#include "binding/call/bound_table.h"

#include <utility>

#include "binding/call/nonblocking_call.h"

namespace soswap {

BoundTable::BoundTable(std::string path) : SlotTable(std::move(path)) {}

BoundTable::~BoundTable() = default;

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
