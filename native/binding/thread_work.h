#pragma once

#include <napi.h>

#include <exception>
#include <memory>
#include <optional>
#include <semaphore>
#include <utility>

#include "binding/addon_data.h"
#include "binding/js_error.h"
#include "core/base/work_threads.h"

namespace soswap {

// One piece of work on another thread, and the promise for its result.
template <typename Work, typename Finish>
class ThreadWork final {
 public:
  static Napi::Promise Run(Napi::Env env, bool on_new_thread, Work work, Finish finish) {
    auto* self = new ThreadWork(env, std::move(work), std::move(finish));
    const Napi::Promise promise = self->deferred_.Promise();
    self->Start(env, on_new_thread);
    return promise;
  }

  ThreadWork(const ThreadWork&) = delete;
  ThreadWork& operator=(const ThreadWork&) = delete;

 private:
  ThreadWork(Napi::Env env, Work work, Finish finish)
      : deferred_(env), work_(std::move(work)), finish_(std::move(finish)) {}
  ~ThreadWork() = default;

  void Start(Napi::Env env, bool on_new_thread) {
    // Its finalizer runs when the thread has released it, or when the environment ends before that.
    settled_ = Napi::ThreadSafeFunction::New(
        env, Napi::Function(), "soswap", 0, 1, [](Napi::Env, ThreadWork* self) { self->End(); },
        this);
    const auto execute = [this] { Execute(); };
    const auto execute_elsewhere = [execute] { WorkThreads::RunOnNewThread(execute); };
    const auto tell_end = [this, told = told_] {
      TellEnd();
      told->release();  // `this` may be gone now
    };
    WorkThreads& threads = env.GetInstanceData<AddonData>()->threads;
    if (on_new_thread) {
      threads.Run(execute_elsewhere, tell_end);
    } else {
      threads.Run(execute, tell_end);
    }
  }

  void Execute() {
    try {
      result_.emplace(work_());
    } catch (const Error& error) {
      error_.emplace(error);
    } catch (const std::exception& error) {
      error_.emplace(Fault::kSystem, "do", "the work", error.what());
    }
  }

  void TellEnd() {
    settled_.BlockingCall(
        this, [](Napi::Env env, Napi::Function, ThreadWork* self) { self->Settle(env); });
    settled_.Release();
  }

  void Settle(Napi::Env env) {
    if (error_) {
      deferred_.Reject(MakeSoError(env, *error_));
    } else {
      deferred_.Resolve(finish_(env, std::move(*result_)));
    }
  }

  void End() {
    told_->acquire();
    delete this;
  }

  Napi::Promise::Deferred deferred_;
  Work work_;
  Finish finish_;
  Napi::ThreadSafeFunction settled_;
  std::shared_ptr<std::binary_semaphore> told_ = std::make_shared<std::binary_semaphore>(0);
  std::optional<decltype(std::declval<Work>()())> result_;
  std::optional<Error> error_;
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
