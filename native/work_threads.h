#pragma once

#include <functional>
#include <list>
#include <mutex>
#include <semaphore>
#include <thread>

namespace soswap {

// Threads that do what must not hold the JavaScript thread. Not those of libuv's pool: they may all
// be in calls, which a swap must not have to wait for before it can even look at the file.
class WorkThreads final {
 public:
  using Task = std::function<void()>;

  enum class Thread {
    kShared,  // one that is kept for the next such task: waking it costs half of starting another
    // One that ends with the task, for the constructors of a library: what they leave to the end of
    // the thread (thread_local destructors) would keep the image mapped until then.
    kOwn,
  };

  WorkThreads() = default;
  WorkThreads(const WorkThreads&) = delete;
  WorkThreads& operator=(const WorkThreads&) = delete;
  // Waits for all tasks.
  ~WorkThreads();

  // Runs `task` on another thread; on this one if no thread is to be had. JavaScript thread only.
  void Run(Task task, Thread kind);

 private:
  struct Worker {
    Task task;
    std::thread thread;
    bool ended = false;
  };

  void Work(Worker& worker, Thread kind);
  bool GetNextTask(Worker& worker);

  std::mutex mutex_;
  std::binary_semaphore wake_{0};  // std::condition_variable wants a newer C++ library
  std::list<Worker> workers_;
  bool has_spare_ = false;  // a worker waits for `next_`
  Task next_;
  bool stopping_ = false;
};

}  // namespace soswap
