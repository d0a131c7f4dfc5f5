#pragma once

#include <new>

namespace soswap::test {

// Makes one allocation of this thread fail, for as long as this object lives.
class FailingAllocation final {
 public:
  // The allocation by operator new with this number, from 1, throws std::bad_alloc.
  explicit FailingAllocation(int number) noexcept;
  FailingAllocation(const FailingAllocation&) = delete;
  FailingAllocation& operator=(const FailingAllocation&) = delete;
  ~FailingAllocation();

  // Whether it has failed.
  bool happened() const noexcept;
};

// Runs `operation` with its first allocation failing, then with its second, and so on, until it
// ends without one. Calls `check` after each failure. Returns how many failures there were.
template <typename Operation, typename Check>
int FailEachAllocation(const Operation& operation, const Check& check) {
  for (int number = 1;; ++number) {
    bool happened = false;
    try {
      const FailingAllocation failing(number);
      operation();
      happened = failing.happened();
    } catch (const std::bad_alloc&) {
      happened = true;
    }
    if (!happened) return number - 1;
    check();
  }
}

}  // namespace soswap::test
