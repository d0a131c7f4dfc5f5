#include "core/tracking/thread_starts.h"

#include <doctest/doctest.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "core/base/this_thread.h"

namespace {

struct Waiting {
  std::atomic<pid_t> number{0};
  std::atomic<bool> over{false};
};

void* Wait(void* given) {
  auto& waiting = *static_cast<Waiting*>(given);
  waiting.number = soswap::ThisThread();
  while (!waiting.over) std::this_thread::yield();
  return nullptr;
}

// Its runtime starts all threads in a function of its own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kHasSanitizer = true;
#else
constexpr bool kHasSanitizer = false;
#endif

}  // namespace

TEST_CASE("how a thread began can be seen, whether it runs or waits") {
  Waiting waiting;
  pthread_t thread{};
  REQUIRE(pthread_create(&thread, nullptr, Wait, &waiting) == 0);
  while (waiting.number == 0) std::this_thread::yield();
  const auto starts = soswap::LookAtThreads();
  waiting.over = true;
  pthread_join(thread, nullptr);
  const auto found = std::find_if(starts.begin(), starts.end(), [&](const auto& start) {
    return start.thread == waiting.number;
  });
  REQUIRE(found != starts.end());
  CHECK(found->known != kHasSanitizer);
  if (!found->known) return;
  CHECK(found->function == reinterpret_cast<uintptr_t>(&Wait));
  CHECK(found->argument == reinterpret_cast<uintptr_t>(&waiting));
}

TEST_CASE("the thread that looks is not in the list, and the main thread is known") {
  for (const auto& start : soswap::LookAtThreads()) {
    CHECK(start.thread != soswap::ThisThread());
  }
  std::thread([] {
    const auto starts = soswap::LookAtThreads();
    CHECK(std::any_of(starts.begin(), starts.end(), [](const auto& start) {
      return start.thread == getpid() && start.known && start.function == 0;
    }));
  }).join();
}

TEST_CASE("threads that end while others look do no harm") {
  std::atomic<bool> over{false};
  std::thread starter([&] {
    while (!over) std::thread([] {}).join();
  });
  for (int round = 0; round < 200; ++round) soswap::LookAtThreads();
  over = true;
  starter.join();
}
