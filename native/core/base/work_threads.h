#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <semaphore>

#include "core/base/own_thread.h"

namespace soswap {

// Threads for work that must not block the JavaScript thread. libuv's pool does not serve: calls
// may occupy all its threads, and a swap would wait for them before it could read the file. One
// idle thread is kept for the next task, because waking a thread blocks JavaScript for a fraction
// of the time that starting one takes.
class WorkThreads final {
 public:
  using Task = std::function<void()>;

  WorkThreads() = default;
  WorkThreads(const WorkThreads&) = delete;
  WorkThreads& operator=(const WorkThreads&) = delete;
  // Waits up to a second for all tasks. A thread whose task has not ended goes on by itself.
  ~WorkThreads();

  // Runs `task` and then `on_end` on another thread, or on this one if no thread can be started.
  // When `on_end` runs, the thread is free for another task. `on_end` must not wait for anything.
  // Neither may throw: on another thread an exception ends the process.
  // Must always be called on the same thread.
  void Run(Task task, Task on_end);

  // Runs `task` on a new thread and waits until the thread has ended. Constructors may leave work
  // to the end of their thread: a thread_local destructor keeps the image mapped until then, and a
  // destructor of pthread_key_create(3) would run after the image is gone. `task` must not throw.
  // Any thread.
  static void RunOnNewThread(const Task& task);

 private:
  struct Job {
    Task task;
    Task on_end;
  };
  struct Worker {
    Job job;
    OwnThread thread;
    bool ended = false;
    std::binary_semaphore end{0};
  };

  // Shared with the threads, which may outlive the rest.
  struct State {
    void Work(Worker& worker);
    bool BecomeSpare();
    bool WaitForJob(Worker& worker);

    std::mutex mutex;
    std::binary_semaphore wake{0};  // std::condition_variable needs a newer C++ library
    std::list<Worker> workers;
    bool has_spare = false;  // a worker waits for `next`, or will next
    std::optional<Job> next;
    bool stopping = false;
  };

  bool StartWorker(Job& job);

  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace soswap
