#include "core/base/work_threads.h"

#include <pthread.h>
#include <sched.h>

#include <exception>
#include <thread>
#include <utility>

namespace soswap {
namespace {

// Whether this thread was made one of the class SCHED_BATCH. That does not take the processor away
// from the thread that wakes it, sched(7): otherwise JavaScript would be held on a busy machine
// until the task is done (measured).
thread_local bool is_batch = false;

void SetSchedulingClass(int policy) {
  const sched_param parameters{};
  pthread_setschedparam(pthread_self(), policy, &parameters);
}

void BecomeBatch() {
  if (sched_getscheduler(0) != SCHED_OTHER) return;  // the user wants another
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

void WorkThreads::Run(Task task, Task tell_end) {
  Job job{std::move(task), std::move(tell_end)};
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
  Worker& worker = workers_.emplace_back();
  worker.job = std::move(job);
  try {
    worker.thread = std::thread([this, &worker] { Work(worker); });
  } catch (const std::exception&) {  // there is no thread, or no memory for one
    job = std::move(worker.job);
    workers_.pop_back();
    lock.unlock();
    job.task();  // a swap half-way must come to its end all the same
    job.tell_end();
  }
}

void WorkThreads::RunOnNewThread(const Task& task) {
  // A new thread takes after the one that starts it, and so would those of a library.
  const auto run = [&task, restore = is_batch] {
    if (restore) SetSchedulingClass(SCHED_OTHER);
    task();
  };
  try {
    std::thread(run).join();
  } catch (const std::exception&) {  // there is no thread, or no memory for one
    task();
  }
}

void WorkThreads::Work(Worker& worker) {
  BecomeBatch();
  for (bool stays = true; stays && WaitForJob(worker);) {
    worker.job.task();
    // First this, because whoever is told may have the next job at once.
    stays = BecomeSpare();
    worker.job.tell_end();
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

// Waits for the next job, unless there is one already. Returns false if there will be none.
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
