#pragma once

#include <pthread.h>

#include <functional>

namespace soswap {

// A thread of soswap itself. Unlike std::thread it begins in soswap's own code, not in that of
// libstdc++, so that LookAtThreads() shows whose it is from its first to its last moment.
class OwnThread final {
 public:
  OwnThread() = default;  // none
  // Runs `task` on a new thread. `task` must not throw. Throws std::system_error or std::bad_alloc
  // where no thread can be started; then `task` has not run.
  explicit OwnThread(std::function<void()> task);

  // One of these must be called once, from another thread, for each thread that was started.
  void Join();
  void Detach();

 private:
  pthread_t thread_{};
};

}  // namespace soswap
