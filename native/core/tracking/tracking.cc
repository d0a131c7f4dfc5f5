#include "core/tracking/tracking.h"

#include <algorithm>
#include <mutex>
#include <new>
#include <utility>

#include "core/tracking/real_functions.h"
#include "core/tracking/thread_record.h"
#include "core/tracking/tracked_functions.h"

namespace soswap {
namespace {

// Never destroyed: threads may end while the process exits.
struct Pool {
  std::mutex mutex;
  Tracking* free = nullptr;
};
Pool& ThePool() {
  static auto* pool = new Pool;
  return *pool;
}

struct Listeners {
  struct Listener {
    uint64_t number;
    void (*changed)(void*);
    void* data;
  };
  std::mutex mutex;
  uint64_t last = 0;
  std::vector<Listener> all;
};
Listeners& TheListeners() {
  static auto* listeners = new Listeners;
  return *listeners;
}

void CallListeners() {
  const std::lock_guard lock(TheListeners().mutex);
  for (const auto& listener : TheListeners().all) listener.changed(listener.data);
}

}  // namespace

std::shared_ptr<Tracking> Tracking::New() {
  if (!Real().enough) return nullptr;
  Tracking* tracking = nullptr;
  {
    const std::lock_guard lock(ThePool().mutex);
    tracking = std::exchange(ThePool().free,
                             ThePool().free == nullptr ? nullptr : ThePool().free->next_free_);
  }
  if (tracking == nullptr) {
    const Thunks::Set thunks = ImageThunks().Make();
    if (thunks.code == 0) return nullptr;
    tracking = new Tracking(thunks);
    *thunks.word = reinterpret_cast<uintptr_t>(tracking);
  }
  tracking->uses_signals_ = false;
  tracking->is_counted_ = false;
  return {tracking, Release};
}

void Tracking::Release(Tracking* tracking) noexcept {
  // Where the image may still be mapped, its code may still call: then this stays its own for ever.
  if (tracking->uses_.fetch_or(kReleased) == kEnded) tracking->Recycle();
}

void Tracking::Recycle() noexcept {
  for (auto& count : counts_) count.store(0);
  keys.store(0);
  uses_.store(kEnded);
  const std::lock_guard lock(ThePool().mutex);
  next_free_ = ThePool().free;
  ThePool().free = this;
}

uintptr_t Tracking::AddressOf(std::string_view name) const {
  const auto what = TrackedNamed(name);
  return what && IsThere(*what) ? AddressOf(*what) : 0;
}

bool Tracking::Begin(const std::string& loader_name) {
  if ((uses_.load() & kEnded) == 0) return false;
  loader_name_ = loader_name;
  if (is_counted_) account_->Begin(loader_name);
  incarnation_.fetch_add(1);
  uses_.fetch_and(~(kEnded | kWaiting));
  return true;
}

Account* Tracking::OpenAccount() {
  if (account_ == nullptr) account_ = Account::New();
  is_counted_ = account_ != nullptr;
  return account_;
}

bool Tracking::TryEnd() noexcept {
  for (uint64_t now = uses_.load(); (now & kNumber) == 0;) {
    if (uses_.compare_exchange_weak(now, (now | kEnded) & ~kWaiting)) return true;
  }
  return false;
}

void Tracking::ForceEnd() noexcept {
  uses_.fetch_or(kEnded);
  uses_.fetch_and(~kWaiting);
}

void Tracking::Finish() noexcept {
  if (keys.load() > 0) DeleteKeysOf(this);
  if (ThreadRecord* record = ThreadRecord::IfAny()) record->Forget(this);
}

void Tracking::Add(Tracked what) noexcept {
  counts_[static_cast<size_t>(what)].fetch_add(1, std::memory_order_relaxed);
  uses_.fetch_add(1);
}

bool Tracking::Enter(Tracked what, uint32_t incarnation) noexcept {
  // An ended object may be given to another image at this moment: it must not be written to.
  uint64_t now = uses_.load();
  do {
    if ((now & kEnded) != 0) return false;
  } while (!uses_.compare_exchange_weak(now, now + 1));
  counts_[static_cast<size_t>(what)].fetch_add(1, std::memory_order_relaxed);
  if (incarnation == incarnation_.load()) return true;
  Leave(what);
  return false;
}

void Tracking::Leave(Tracked what, uint64_t count) noexcept {
  if (count == 0) return;
  counts_[static_cast<size_t>(what)].fetch_sub(static_cast<int32_t>(count),
                                               std::memory_order_relaxed);
  // After this, another thread may unmap the image and use this object for another one.
  const uint64_t now = uses_.fetch_sub(count) - count;
  if (now == (kEnded | kReleased)) Recycle();
  if ((now & kNumber) == 0 && (now & kWaiting) != 0) CallListeners();
}

std::vector<RetainReason> Tracking::Reasons() const {
  if ((uses_.load() & kNumber) == 0) return {};
  std::vector<RetainReason> reasons;
  const auto count = [&](Tracked what) {
    return std::max(0, counts_[static_cast<size_t>(what)].load(std::memory_order_relaxed));
  };
  int threads = 0;
  for (const auto what : {Tracked::kPthreadCreate, Tracked::kThrdCreate, Tracked::kStdThread,
                          Tracked::kUvThreadCreate, Tracked::kUvThreadCreateEx}) {
    threads += count(what);
  }
  if (threads > 0) {
    reasons.push_back(
        {"running-threads", std::to_string(threads) + " thread(s) that it started have not ended"});
  }
  const int destructors = count(Tracked::kThreadExitImpl) + count(Tracked::kThreadExit);
  const int values = count(Tracked::kSetSpecific);
  if (destructors > 0) {
    reasons.push_back({"thread-local-destructor",
                       std::to_string(destructors) +
                           " destructor(s) of thread_local variables are due at the end of "
                           "other threads"});
  }
  if (values > 0) {
    reasons.push_back({"thread-local-destructor",
                       std::to_string(values) +
                           " destructor(s) of pthread_key_create(3) are due at the end of other "
                           "threads"});
  }
  for (const auto what :
       {Tracked::kUvQueueWork, Tracked::kTimerCreate, Tracked::kMqNotify, Tracked::kGetaddrinfoA,
        Tracked::kAioRead, Tracked::kAioWrite, Tracked::kAioFsync, Tracked::kAioRead64,
        Tracked::kAioWrite64, Tracked::kAioFsync64, Tracked::kLioListio, Tracked::kLioListio64}) {
    if (const int pending = count(what); pending > 0) {
      reasons.push_back({"pending-work", std::to_string(pending) + " call(s) of " +
                                             std::string(NameOf(what)) + " may still call back"});
    }
  }
  for (const auto what : {Tracked::kOnExit, Tracked::kAtQuickExit}) {
    if (count(what) > 0) {
      reasons.push_back({"exit-handler", std::string(NameOf(what)) + " will call it at exit"});
    }
  }
  if (reasons.empty()) reasons.push_back({"running-threads", "a thread is just leaving its code"});
  return reasons;
}

uint64_t AddTrackingListener(void (*changed)(void*), void* data) {
  const std::lock_guard lock(TheListeners().mutex);
  TheListeners().all.push_back({++TheListeners().last, changed, data});
  return TheListeners().last;
}

void RemoveTrackingListener(uint64_t listener) {
  const std::lock_guard lock(TheListeners().mutex);
  std::erase_if(TheListeners().all, [&](const auto& each) { return each.number == listener; });
}

bool IsTrackedName(std::string_view name) { return TrackedNamed(name).has_value(); }

}  // namespace soswap
