#pragma once

#include <napi.h>

#include <optional>
#include <utility>

#include "js_error.h"

namespace soswap {

template <typename Work, typename Finish>
class PoolWork final : public Napi::AsyncWorker {
 public:
  PoolWork(Napi::Env env, Work work, Finish finish)
      : Napi::AsyncWorker(env),
        deferred_(env),
        work_(std::move(work)),
        finish_(std::move(finish)) {}

  Napi::Promise Promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    try {
      result_.emplace(work_());
    } catch (const Error& error) {
      error_.emplace(error);
      SetError(error.what());
    }
  }

  void OnOK() override { deferred_.Resolve(finish_(Env(), std::move(*result_))); }

  void OnError(const Napi::Error& error) override {
    deferred_.Reject(error_ ? MakeSoError(Env(), *error_) : error.Value());
  }

 private:
  Napi::Promise::Deferred deferred_;
  Work work_;
  Finish finish_;
  std::optional<decltype(std::declval<Work>()())> result_;
  std::optional<Error> error_;
};

// Runs `work` on libuv's thread pool, without touching JavaScript, and settles a promise on the
// JavaScript thread with what `finish(env, result)` makes of its result.
template <typename Work, typename Finish>
Napi::Promise RunOnPool(Napi::Env env, Work work, Finish finish) {
  auto* worker = new PoolWork<Work, Finish>(env, std::move(work), std::move(finish));
  const Napi::Promise promise = worker->Promise();
  worker->Queue();  // it deletes itself when it is done
  return promise;
}

}  // namespace soswap
