#include "work_threads.h"

#include <pthread.h>
#include <sched.h>

#include <system_error>
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

void WorkThreads::Run(Task task) {
  std::unique_lock lock(mutex_);
  workers_.remove_if([](Worker& worker) {
    if (worker.ended) worker.thread.join();
    return worker.ended;
  });
  if (has_spare_ && !next_) {
    next_ = std::move(task);
    lock.unlock();
    wake_.release();
    return;
  }
  Worker& worker = workers_.emplace_back();
  worker.task = std::move(task);
  try {
    worker.thread = std::thread([this, &worker] { Work(worker); });
  } catch (const std::system_error&) {
    task = std::move(worker.task);
    workers_.pop_back();
    lock.unlock();
    task();  // a swap half-way must come to its end all the same
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
  } catch (const std::system_error&) {
    task();
  }
}

void WorkThreads::Work(Worker& worker) {
  BecomeBatch();
  do {
    worker.task();
  } while (GetNextTask(worker));
  const std::lock_guard lock(mutex_);
  worker.ended = true;
}

// Waits for a task, unless another worker does so already. Returns whether there is one.
bool WorkThreads::GetNextTask(Worker& worker) {
  {
    const std::lock_guard lock(mutex_);
    if (has_spare_ || stopping_) return false;
    has_spare_ = true;
  }
  wake_.acquire();
  const std::lock_guard lock(mutex_);
  has_spare_ = false;
  worker.task = std::exchange(next_, nullptr);
  return worker.task != nullptr;
}

}  // namespace soswap
