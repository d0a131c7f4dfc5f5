#include "core/base/work_threads.h"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <semaphore>
#include <thread>

using soswap::WorkThreads;

namespace {

pid_t ThisThread() { return static_cast<pid_t>(syscall(SYS_gettid)); }

constexpr auto kDoNothing = [] {};

// Returns the thread that ran a task, after the task has ended.
pid_t ThreadOfTask(WorkThreads& threads) {
  pid_t thread = 0;
  std::binary_semaphore ended{0};
  threads.Run([&] { thread = ThisThread(); }, [&] { ended.release(); });
  ended.acquire();
  return thread;
}

TEST_CASE("a task runs on another thread, which is kept for the next ones") {
  WorkThreads threads;
  const pid_t first = ThreadOfTask(threads);
  CHECK(first != ThisThread());
  for (int task = 0; task < 100; ++task) CHECK(ThreadOfTask(threads) == first);
}

TEST_CASE("tasks do not wait for each other") {
  WorkThreads threads;
  constexpr int kCount = 8;
  std::counting_semaphore<kCount> arrived{0};
  std::counting_semaphore<kCount> gate{0};
  std::atomic<int> ended{0};
  for (int task = 0; task < kCount; ++task) {
    const auto wait = [&] {
      arrived.release();
      gate.acquire();
      ++ended;
    };
    threads.Run(wait, kDoNothing);
  }
  for (int task = 0; task < kCount; ++task) arrived.acquire();
  CHECK(ended == 0);
  gate.release(kCount);
  while (ended < kCount) std::this_thread::yield();
}

TEST_CASE("all tasks are waited for at the end") {
  std::atomic<int> ended{0};
  constexpr int kRounds = 50;
  for (int round = 0; round < kRounds; ++round) {
    WorkThreads threads;
    for (int task = 0; task < 3; ++task) {
      threads.Run([] { std::this_thread::yield(); }, [&] { ++ended; });
    }
  }
  CHECK(ended == 3 * kRounds);
}

TEST_CASE("a new thread has ended before the end of its task is reported") {
  struct AtThreadEnd {
    std::atomic<bool>* ended;
    ~AtThreadEnd() { *ended = true; }
  };
  std::atomic<bool> ended{false};
  bool ended_before_report = false;
  int policy = -1;
  pid_t outer = 0;
  pid_t inner = 0;
  {
    WorkThreads threads;
    const auto begin = [&] {
      outer = ThisThread();
      WorkThreads::RunOnNewThread([&] {
        thread_local AtThreadEnd at_end{&ended};
        CHECK_FALSE(*at_end.ended);
        inner = ThisThread();
        policy = sched_getscheduler(0);
      });
    };
    threads.Run(begin, [&] { ended_before_report = ended; });
  }
  CHECK(ended_before_report);
  CHECK(inner != outer);
  CHECK(policy == sched_getscheduler(0));
}

TEST_CASE("a task that does not end is left to its thread") {
  const auto gate = std::make_shared<std::binary_semaphore>(0);
  const auto ended = std::make_shared<std::binary_semaphore>(0);
  {
    WorkThreads threads;
    threads.Run([gate] { gate->acquire(); }, [ended] { ended->release(); });
  }
  CHECK_FALSE(ended->try_acquire());
  gate->release();
  ended->acquire();
}

}  // namespace
