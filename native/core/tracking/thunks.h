#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace soswap {

// Makes small pieces of code that call C++ functions with one more argument. An image calls what
// its imports are bound to and says nothing about itself. Its return address does not say it
// either, because a tail call has none. So each image gets code of its own for each function.
//
// Memory is mapped for many sets at once, never unmapped, and used again. Any thread.
class Thunks final {
 public:
  struct Target {
    uintptr_t function;
    unsigned arguments;  // pointers or integers; the word of the set comes after them
  };
  // The code for each target, one after the other.
  struct Set {
    uintptr_t code = 0;
    uintptr_t* word = nullptr;  // what the code passes on

    uintptr_t AddressOf(size_t target) const noexcept { return code + target * kSize; }
  };

  explicit Thunks(std::vector<Target> targets) : targets_(std::move(targets)) {}

  // A new set. Its code is 0 where the system gives no memory for code (SELinux: execmem).
  Set Make();

 private:
  static constexpr size_t kSize = 16;

  bool MapMore();

  std::vector<Target> targets_;
  std::mutex mutex_;
  std::vector<Set> spare_;
};

}  // namespace soswap
