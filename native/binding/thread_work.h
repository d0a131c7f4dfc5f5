#pragma once

#include <napi.h>

#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <semaphore>
#include <utility>

#include "binding/addon_data.h"
#include "binding/js_error.h"
#include "core/base/work_threads.h"

namespace soswap {

// One piece of work on another thread, and the promise for its result. What is allocated is
// allocated on the JavaScript thread before the work begins, where an exception has somewhere to
// go.
template <typename Work, typename Finish>
class ThreadWork final {
 public:
  static Napi::Promise Run(Napi::Env env, bool on_new_thread, Work work, Finish finish) {
    std::unique_ptr<ThreadWork> self(new ThreadWork(env, std::move(work), std::move(finish)));
    const Napi::Promise promise = self->deferred_.Promise();
    // Its finalizer runs when the thread has released it, or when the environment ends before that.
    self->settled_ = ThreadSafeFunction::New(
        env, "soswap", 0, 1, static_cast<void*>(nullptr),
        [](Napi::Env, ThreadWork* ended, void*) { ended->End(); }, self.get());
    self.release()->Start(env, on_new_thread);
    return promise;
  }

  ThreadWork(const ThreadWork&) = delete;
  ThreadWork& operator=(const ThreadWork&) = delete;

 private:
  friend std::default_delete<ThreadWork>;

  // Called on the JavaScript thread; without an environment when that is being torn down.
  static void CallSettle(Napi::Env env, Napi::Function, void*, ThreadWork* self) {
    if (env != nullptr) self->Settle(env);
  }
  using ThreadSafeFunction =
      Napi::TypedThreadSafeFunction<void, ThreadWork, &ThreadWork::CallSettle>;

  ThreadWork(Napi::Env env, Work work, Finish finish)
      : deferred_(env), work_(std::move(work)), finish_(std::move(finish)) {}
  ~ThreadWork() = default;

  void Start(Napi::Env env, bool on_new_thread) {
    try {
      const auto report_end = [this, ending = ending_] { ReportEnd(*ending); };
      const WorkThreads::Task execute = [this] { Execute(); };
      WorkThreads& threads = env.GetInstanceData<AddonData>()->threads;
      if (on_new_thread) {
        threads.Run([execute] { WorkThreads::RunOnNewThread(execute); }, report_end);
      } else {
        threads.Run(execute, report_end);
      }
    } catch (const std::bad_alloc&) {
      settled_.Release();
      ending_->reported.release();
      throw;
    }
  }

  void Execute() noexcept {
    try {
      try {
        result_.emplace(work_());
      } catch (const Error& error) {
        error_ = std::make_shared<const Error>(error);
      }
    } catch (...) {
      // There was no memory: neither a result nor an error.
    }
  }

  // How the two threads agree on who deletes the work. Outlives it.
  struct Ending {
    std::binary_semaphore reported{0};
    std::mutex mutex;
    bool abandoned = false;  // the environment is gone; locked
  };

  // On the other thread.
  void ReportEnd(Ending& ending) noexcept {
    std::unique_lock lock(ending.mutex);
    if (ending.abandoned) {
      lock.unlock();
      delete this;
      return;
    }
    settled_.BlockingCall(this);
    settled_.Release();
    ending.reported.release();  // `this` may be gone now
  }

  void Settle(Napi::Env env) noexcept {
    try {
      const Napi::HandleScope scope(env);
      try {
        SettleOrThrow(env);
      } catch (const Napi::Error& error) {
        deferred_.Reject(error.Value());
      } catch (const std::bad_alloc&) {
        deferred_.Reject(Napi::Error::New(env, "there is no memory").Value());
      }
    } catch (...) {
      // The environment is being torn down: nobody waits any more.
    }
  }

  void SettleOrThrow(Napi::Env env) {
    if (result_) {
      deferred_.Resolve(finish_(env, std::move(*result_)));
    } else if (error_ != nullptr) {
      deferred_.Reject(MakeSoError(env, *error_));
    } else {
      deferred_.Reject(MakeSoError(env, "ERR_SOSWAP_SYSTEM", "there is no memory", ""));
    }
  }

  // On the JavaScript thread. Where the environment ends first, the work may never end: a
  // constructor that does not return. Then it is left to its thread.
  void End() {
    const auto ending = ending_;
    if (!ending->reported.try_acquire_for(std::chrono::seconds(1))) {
      const std::lock_guard lock(ending->mutex);
      ending->abandoned = !ending->reported.try_acquire();
      if (ending->abandoned) return;
    }
    delete this;
  }

  Napi::Promise::Deferred deferred_;
  Work work_;
  Finish finish_;
  ThreadSafeFunction settled_;
  std::shared_ptr<Ending> ending_ = std::make_shared<Ending>();
  std::optional<decltype(std::declval<Work>()())> result_;
  std::shared_ptr<const Error> error_;
};

// Runs `work` on another thread, without touching JavaScript, and settles a promise on the
// JavaScript thread with what `finish(env, result)` makes of its result.
template <typename Work, typename Finish>
Napi::Promise RunOnThread(Napi::Env env, Work work, Finish finish) {
  return ThreadWork<Work, Finish>::Run(env, false, std::move(work), std::move(finish));
}

// The same on a thread that ends with the work: see WorkThreads::RunOnNewThread().
template <typename Work, typename Finish>
Napi::Promise RunOnNewThread(Napi::Env env, Work work, Finish finish) {
  return ThreadWork<Work, Finish>::Run(env, true, std::move(work), std::move(finish));
}

}  // namespace soswap
