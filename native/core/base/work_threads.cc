#include "core/base/work_threads.h"

#include <pthread.h>
#include <sched.h>

#include <exception>
#include <thread>
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
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (has_spare_ && !next_) wake_.release();
  }
  for (Worker& worker : workers_) worker.thread.join();
}

void WorkThreads::Run(Task task, Task on_end) {
  Job job{std::move(task), std::move(on_end)};
  std::unique_lock lock(mutex_);
  workers_.remove_if([](Worker& worker) {
    if (worker.ended) worker.thread.join();
    return worker.ended;
  });
  if (has_spare_ && !next_) {
    next_ = std::move(job);
    lock.unlock();
    wake_.release();
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
    worker.thread = std::thread([this, &worker] { Work(worker); });
  } catch (const std::exception&) {  // std::system_error, std::bad_alloc
    if (!started.empty()) std::swap(started.back().job, job);
    return false;
  }
  workers_.splice(workers_.end(), started);
  return true;
}

void WorkThreads::RunOnNewThread(const Task& task) {
  // A new thread inherits the class, and so would the threads that a library starts.
  const auto run = [&task, restore = is_batch] {
    if (restore) SetSchedulingClass(SCHED_OTHER);
    task();
  };
  std::thread thread;
  try {
    thread = std::thread(run);
  } catch (const std::exception&) {  // std::system_error, std::bad_alloc
    task();
    return;
  }
  thread.join();
}

void WorkThreads::Work(Worker& worker) {
  BecomeBatch();
  for (bool stays = true; stays && WaitForJob(worker);) {
    worker.job.task();
    // Before on_end(), whose receiver may have the next job at once.
    stays = BecomeSpare();
    worker.job.on_end();
    worker.job = {};
  }
  const std::lock_guard lock(mutex_);
  worker.ended = true;
}

bool WorkThreads::BecomeSpare() {
  const std::lock_guard lock(mutex_);
  if (has_spare_ || stopping_) return false;
  has_spare_ = true;
  return true;
}

// Waits for the next job, unless the worker has one. Returns false if none will come.
bool WorkThreads::WaitForJob(Worker& worker) {
  if (worker.job.task) return true;
  wake_.acquire();
  const std::lock_guard lock(mutex_);
  has_spare_ = false;
  if (!next_) return false;
  worker.job = *std::exchange(next_, std::nullopt);
  return true;
}

}  // namespace soswap
