#pragma once

#include <node_api.h>

#include <memory>
#include <string>
#include <vector>

#include "core/call/slot_table.h"

namespace soswap {

class NonblockingCall;

// The slots of one handle, and its nonblocking calls that wait or settle. Used on one JavaScript
// thread only.
class BoundTable final : public SlotTable, public std::enable_shared_from_this<BoundTable> {
 public:
  explicit BoundTable(std::string path);
  BoundTable(const BoundTable&) = delete;
  BoundTable& operator=(const BoundTable&) = delete;
  ~BoundTable();

  // The table of a slot: every slot that JavaScript can call is in one of these.
  static BoundTable& Of(const Slot& slot) noexcept { return static_cast<BoundTable&>(*slot.table); }

  // From Hold() to Release() nonblocking calls are taken but not begun, so that a swap can wait for
  // those in flight and nothing has to be refused meanwhile. Held calls are not in flight.
  // Release() begins them with what is loaded then, or rejects them if nothing is.
  bool held() const noexcept { return held_; }
  void Hold() noexcept { held_ = true; }
  void Release();

  // Begins the call, or keeps it until Release().
  void Begin(std::unique_ptr<NonblockingCall> call);

  // Calls `observer` after each call of a bound function, see SlotTable::Supervise().
  void Observe(napi_env env, napi_value observer);
  void EndObservation() noexcept;
  // Calls the observer with the exception that is pending, or with `result`; both stay as they are.
  void TellObserver(napi_env env, const Slot& slot, napi_value result);

  // A promise that is resolved when a nonblocking call of any image has settled.
  napi_value NextSettled(napi_env env);
  void ResolveSettled(napi_env env);

 private:
  bool held_ = false;
  std::vector<std::unique_ptr<NonblockingCall>> waiting_;
  std::vector<napi_deferred> settled_;
  napi_env observing_ = nullptr;
  napi_ref observer_ = nullptr;
};

}  // namespace soswap
