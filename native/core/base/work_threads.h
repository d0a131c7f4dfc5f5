#pragma once

#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <semaphore>
#include <thread>

namespace soswap {

// Threads that do what must not hold the JavaScript thread. Not those of libuv's pool: they may all
// be in calls, which a swap must not have to wait for before it can even look at the file. One is
// kept for the next task: to wake a thread holds JavaScript a fraction of the time that it takes to
// start one.
class WorkThreads final {
 public:
  using Task = std::function<void()>;

  WorkThreads() = default;
  WorkThreads(const WorkThreads&) = delete;
  WorkThreads& operator=(const WorkThreads&) = delete;
  // Waits for all tasks.
  ~WorkThreads();

  // Runs `task` and then `tell_end`, which must not wait for anything, on another thread; on this
  // one if no thread is to be had. When `tell_end` runs, the thread can be had for another task.
  // Always from the same thread.
  void Run(Task task, Task tell_end);

  // Runs `task` on a thread that ends with it, and waits for that. Constructors may leave something
  // to the end of their thread: it would keep the image mapped until then (thread_local), or run
  // when that is gone (pthread_key_create(3)). Any thread.
  static void RunOnNewThread(const Task& task);

 private:
  struct Job {
    Task task;
    Task tell_end;
  };
  struct Worker {
    Job job;
    std::thread thread;
    bool ended = false;
  };

  void Work(Worker& worker);
  bool BecomeSpare();
  bool WaitForJob(Worker& worker);

  std::mutex mutex_;
  std::binary_semaphore wake_{0};  // std::condition_variable wants a newer C++ library
  std::list<Worker> workers_;
  bool has_spare_ = false;  // a worker waits for `next_`, or is about to
  std::optional<Job> next_;
  bool stopping_ = false;
};

}  // namespace soswap
