#include "core/tracking/tracking.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/bind/bound_imports.h"
#include "core/bind/loader_functions.h"
#include "core/copy/copy_plan.h"
#include "core/image/image.h"
#include "core/resolve/inspected_snapshot.h"
#include "core/tracking/thread_record.h"
#include "small_libraries.h"

using soswap::CopyPlan;
using soswap::Image;
using soswap::ImageOrigin;
using soswap::IsLoaded;
using soswap::StillInFile;
using soswap::SweepWaiting;
using soswap::TakeSnapshot;
using soswap::test::Workshop;

namespace {

CopyPlan Plan() {
  CopyPlan plan;
  plan.bind = BindAndTrack(soswap::LoaderFunctions());
  return plan;
}

std::shared_ptr<Image> Load(const std::string& path) {
  const auto taken = TakeSnapshot(path, path, Plan());
  ImageOrigin origin;
  origin.path = path;
  origin.memory_size = taken->elf.facts().memory_size;
  origin.unload = taken->unload;
  return Image::Open(std::move(origin), taken, RTLD_NOW);
}

template <typename... Arguments>
int Call(const Image& image, const char* name, Arguments... arguments) {
  return reinterpret_cast<int (*)(Arguments...)>(image.Address(name))(arguments...);
}

// A thread that has a destructor and the value of a key due when it ends.
class DueThread final {
 public:
  DueThread(const Image& image, int& counter, bool visits = false)
      : thread_([&image, &counter, visits, this] {
          Call(image, "at_end", &counter);
          Call(image, "set_key", &counter);
          step_ = 1;
          while (step_ != 2) std::this_thread::yield();
          if (visits) soswap::VisitThread();
        }) {
    while (step_ != 1) std::this_thread::yield();
  }
  void End() {
    step_ = 2;
    thread_.join();
  }

 private:
  std::atomic<int> step_{0};
  std::thread thread_;
};

template <typename Done>
bool Soon(Done done) {
  for (int turn = 0; turn < 5000; ++turn) {
    if (done()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

// Counts what it runs in memory of the program.
const std::string kSource = R"(
  #include <pthread.h>
  #include <stdlib.h>
  #include <unistd.h>
  int __cxa_thread_atexit_impl(void (*)(void*), void*, void*);
  extern void* __dso_handle;
  static pthread_key_t key;
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  static void count(void* counter) { __atomic_add_fetch((int*)counter, 1, __ATOMIC_SEQ_CST); }
  static void make(void) { pthread_key_create(&key, count); }
  int set_key(int* counter) {
    pthread_once(&once, make);
    return pthread_setspecific(key, counter);
  }
  int at_end(int* counter) { return __cxa_thread_atexit_impl(count, counter, &__dso_handle); }
  static void* run(void* counter) {
    usleep(1000);
    set_key(counter);
    at_end(counter);
    count(counter);
    return 0;
  }
  int start(int* counter) {
    pthread_t thread;
    return pthread_create(&thread, 0, run, counter) || pthread_detach(thread);
  }
)";

}  // namespace

TEST_CASE("tracking: an image waits for its threads, their keys and their destructors") {
  const Workshop workshop;
  const std::string path = workshop.Compile("tracked.so", kSource, "-O2 -lpthread");
  std::atomic<int> counter{0};
  std::atomic<int> calls{0};
  const uint64_t listener = soswap::AddTrackingListener(
      [](void* data) { ++*static_cast<std::atomic<int>*>(data); }, &calls);
  constexpr int kRounds = 20;
  constexpr int kThreads = 4;
  for (int round = 0; round < kRounds; ++round) {
    auto image = Load(path);
    const std::string name = image->loader_name();
    for (int thread = 0; thread < kThreads; ++thread) {
      CHECK(Call(*image, "start", reinterpret_cast<int*>(&counter)) == 0);
    }
    const auto reasons = image->Close();
    if (!reasons.empty()) {
      CHECK(reasons.front().code == "running-threads");
      CHECK(IsLoaded(name));
    }
    image.reset();
    CHECK(Soon([&] { return SweepWaiting() == 0; }));
    CHECK(!IsLoaded(name));
    CHECK(counter == (round + 1) * kThreads * 3);
  }
  CHECK(calls > 0);
  soswap::RemoveTrackingListener(listener);
}

TEST_CASE("tracking: what is due on the closing thread runs at the close, once") {
  const Workshop workshop;
  const std::string path = workshop.Compile("tracked.so", kSource, "-O2 -lpthread");
  int counter = 0;
  std::thread([&] {
    for (int round = 1; round <= 3; ++round) {
      const auto image = Load(path);
      CHECK(Call(*image, "at_end", &counter) == 0);
      CHECK(Call(*image, "at_end", &counter) == 0);
      CHECK(Call(*image, "set_key", &counter) == 0);
      CHECK(Call(*image, "set_key", &counter) == 0);
      CHECK(image->Close(round == 3).empty());
      CHECK(counter == round * 3);
    }
  }).join();
  CHECK(counter == 9);
}

TEST_CASE("tracking: what is due on another thread runs at its visit or its end") {
  const Workshop workshop;
  const std::string path = workshop.Compile("tracked.so", kSource, "-O2 -lpthread");
  for (const bool visits : {true, false}) {
    const auto image = Load(path);
    int counter = 0;
    DueThread other(*image, counter, visits);
    const auto reasons = image->Close();
    CHECK(reasons.size() == 2);
    CHECK(reasons.front().code == "thread-local-destructor");
    CHECK(SweepWaiting() == 1);
    other.End();
    CHECK(counter == 2);
    CHECK(SweepWaiting() == 0);
    CHECK(!IsLoaded(image->loader_name()));
  }
}

TEST_CASE("tracking: with force, what is due on another thread is dropped") {
  const Workshop workshop;
  const std::string path = workshop.Compile("tracked.so", kSource, "-O2 -lpthread");
  const auto image = Load(path);
  int counter = 0;
  DueThread other(*image, counter);
  CHECK(image->Close(true).empty());
  other.End();
  CHECK(counter == 0);
}

TEST_CASE("tracking: threads come and go while images do") {
  const Workshop workshop;
  const std::string path = workshop.Compile("tracked.so", kSource, "-O2 -lpthread");
  constexpr int kWorkers = 4;
  constexpr int kRounds = 25;
  std::atomic<int> counter{0};
  std::vector<std::thread> workers;
  for (int worker = 0; worker < kWorkers; ++worker) {
    workers.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        const auto image = Load(path);
        auto* counted = reinterpret_cast<int*>(&counter);
        Call(*image, "start", counted);
        std::thread([&] { Call(*image, "set_key", counted); }).join();
        Call(*image, "at_end", counted);
        image->Close();
        SweepWaiting();
      }
    });
  }
  for (auto& worker : workers) worker.join();
  CHECK(Soon([] { return SweepWaiting() == 0; }));
  CHECK(counter == kWorkers * kRounds * 5);
}

TEST_CASE("tracking: a copy is compared with its file as if nothing were bound") {
  const Workshop workshop;
  const std::string path = workshop.Compile("tracked.so", kSource, "-O2 -lpthread");
  const auto taken = TakeSnapshot(path, path, Plan());
  REQUIRE(taken->tracking != nullptr);
  CHECK(taken->unload.thread_functions.empty());
  CHECK(StillInFile(*taken, path, Plan()));
  workshop.Compile("tracked.so", kSource + "int more;", "-O2 -lpthread");
  CHECK(!StillInFile(*taken, path, Plan()));
}

TEST_CASE("tracking: a library that imports nothing of it is not tracked") {
  const Workshop workshop;
  const std::string path = workshop.Compile("plain.so", "int one(void) { return 1; }");
  CHECK(TakeSnapshot(path, path, Plan())->tracking == nullptr);
}
