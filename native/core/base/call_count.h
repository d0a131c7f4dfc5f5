#pragma once

#include <atomic>
#include <cstdint>

namespace soswap {

// Calls that have entered an image and have not returned, and nonblocking ones that wait for a
// thread or whose promise is not settled yet. Counted by the one JavaScript thread whose handle the
// image belongs to; other threads may read it.
class CallCount final {
 public:
  void Enter() noexcept { Add(1); }
  void Leave() noexcept { Add(-1); }
  int32_t value() const noexcept { return count_.load(std::memory_order_relaxed); }

  // The number itself, for JavaScript of the same thread that counts calls of its own in it.
  int32_t* number() noexcept {
    static_assert(sizeof(count_) == sizeof(int32_t) && std::atomic<int32_t>::is_always_lock_free);
    return reinterpret_cast<int32_t*>(&count_);
  }

 private:
  // With one writer there is nothing to lock, and a plain increment costs a tenth of a locked one.
  void Add(int32_t change) noexcept { count_.store(value() + change, std::memory_order_relaxed); }

  std::atomic<int32_t> count_{0};
};

}  // namespace soswap
