#include "core/base/work_threads.h"

#include <pthread.h>
#include <sched.h>

#include <chrono>
#include <exception>
#include <utility>

namespace soswap {
namespace {

// Whether BecomeBatch() changed this thread to the class SCHED_BATCH. A thread of that class does
// not preempt the thread that wakes it, sched(7). Otherwise JavaScript would wait on a busy machine
// until the task is done (measured).
thread_local bool is_batch = false;

void SetSchedulingClass(int policy) {
  const sched_param parameters{};
  pthread_setschedparam(pthread_self(), policy, &parameters);
}

void BecomeBatch() {
  if (sched_getscheduler(0) != SCHED_OTHER) return;  // the user has chosen another
  SetSchedulingClass(SCHED_BATCH);
  is_batch = true;
}

}  // namespace

WorkThreads::~WorkThreads() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    if (state_->has_spare && !state_->next) state_->wake.release();
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  for (Worker& worker : state_->workers) {
    if (worker.end.try_acquire_until(deadline)) {
      worker.thread.Join();
    } else {
      worker.thread.Detach();
    }
  }
}

void WorkThreads::Run(Task task, Task on_end) {
  Job job{std::move(task), std::move(on_end)};
  std::unique_lock lock(state_->mutex);
  state_->workers.remove_if([](Worker& worker) {
    if (worker.ended) worker.thread.Join();
    return worker.ended;
  });
  if (state_->has_spare && !state_->next) {
    state_->next = std::move(job);
    lock.unlock();
    state_->wake.release();
    return;
  }
  if (StartWorker(job)) return;
  lock.unlock();
  job.task();  // a swap that has begun must end all the same
  job.on_end();
}

// Starts a thread for the job. Returns false, and leaves the job as it is, if that is impossible.
bool WorkThreads::StartWorker(Job& job) {
  std::list<Worker> started;
  try {
    Worker& worker = started.emplace_back();
    std::swap(worker.job, job);
    worker.thread = OwnThread([state = state_, &worker] { state->Work(worker); });
  } catch (const std::exception&) {  // std::system_error, std::bad_alloc
    if (!started.empty()) std::swap(started.back().job, job);
    return false;
  }
  state_->workers.splice(state_->workers.end(), started);
  return true;
}

void WorkThreads::RunOnNewThread(const Task& task) {
  // A new thread inherits the class, and so would the threads that a library starts.
  const auto run = [&task, restore = is_batch] {
    if (restore) SetSchedulingClass(SCHED_OTHER);
    task();
  };
  OwnThread thread;
  try {
    thread = OwnThread(run);
  } catch (const std::exception&) {  // std::system_error, std::bad_alloc
    task();
    return;
  }
  thread.Join();
}

void WorkThreads::State::Work(Worker& worker) {
  BecomeBatch();
  for (bool stays = true; stays && WaitForJob(worker);) {
    worker.job.task();
    // Before on_end(), whose receiver may have the next job at once.
    stays = BecomeSpare();
    worker.job.on_end();
    worker.job = {};
  }
  const std::lock_guard lock(mutex);
  worker.ended = true;
  worker.end.release();
}

bool WorkThreads::State::BecomeSpare() {
  const std::lock_guard lock(mutex);
  if (has_spare || stopping) return false;
  has_spare = true;
  return true;
}

// Waits for the next job, unless the worker has one. Returns false if none will come.
bool WorkThreads::State::WaitForJob(Worker& worker) {
  if (worker.job.task) return true;
  wake.acquire();
  const std::lock_guard lock(mutex);
  has_spare = false;
  if (!next) return false;
  worker.job = *std::exchange(next, std::nullopt);
  return true;
}

}  // namespace soswap
