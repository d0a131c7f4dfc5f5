#pragma once

#include <cxxabi.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/call/call_frame.h"
#include "core/call/call_target.h"
#include "fast/outcome.h"

// The functions that compiled JavaScript calls. Integers and floating-point numbers travel in
// registers of their own, so that one function for each number of integers, number of
// floating-point numbers and kind of result serves every signature whose arguments all find
// registers.

namespace soswap {

// V8 passes the address in two halves: it has no cheaper way to pass 64 bits.
inline const CallTarget& TargetAt(int32_t low, int32_t high) noexcept {
  const auto address = uint64_t{static_cast<uint32_t>(high)} << 32 | static_cast<uint32_t>(low);
  return *reinterpret_cast<const CallTarget*>(address);
}

// Runs `call` with the current address of the target, counted as in flight. No exception leaves it.
template <typename Result, typename Call>
[[gnu::always_inline]] inline Result CallCounted(const CallTarget& target, Call call) {
  void* const address = target.address;
  if (address == nullptr) [[unlikely]] {
    Report(Outcome::kUnavailable);
    return Result{};
  }
  CallCount& calls = **target.calls;
  calls.Enter();
  try {
    const Result result = call(address);
    calls.Leave();
    return result;
  } catch (const abi::__forced_unwind&) {
    calls.Leave();
    throw;  // the thread is being cancelled
  } catch (...) {
    calls.Leave();
    ReportException();
    return Result{};
  }
}

// The bits that V8 does not set stay as they are: whoever is called ignores them too. A float lies
// in the low half of a double.
template <size_t>
using Integer = uint64_t;
template <size_t>
using Floating = double;

template <typename Result, size_t... kIntegers, size_t... kFloating>
const void* FastCallOf(std::index_sequence<kIntegers...>, std::index_sequence<kFloating...>) {
  using Native = Result (*)(Integer<kIntegers>..., Floating<kFloating>...);
  struct Compiled {
    static Result Call(void*, int32_t low, int32_t high, Integer<kIntegers>... integers,
                       Floating<kFloating>... floating) {
      return CallCounted<Result>(TargetAt(low, high), [&](void* address) {
        return reinterpret_cast<Native>(address)(integers..., floating...);
      });
    }
  };
  return reinterpret_cast<const void*>(&Compiled::Call);
}

constexpr size_t kFloatingCounts = kFloatingRegisters + 1;
constexpr size_t kFastCalls = (kIntegerRegisters + 1) * kFloatingCounts;

template <typename Result, size_t... kIndexes>
std::array<const void*, sizeof...(kIndexes)> FastCallsOf(std::index_sequence<kIndexes...>) {
  return {FastCallOf<Result>(std::make_index_sequence<kIndexes / kFloatingCounts>(),
                             std::make_index_sequence<kIndexes % kFloatingCounts>())...};
}

// The function for a signature, which takes the receiver, the two halves of the target's address,
// the integers and the floating-point numbers.
inline const void* FastCall(size_t integers, size_t floating, bool floating_result) {
  using Indexes = std::make_index_sequence<kFastCalls>;
  static const auto with_integer = FastCallsOf<uint64_t>(Indexes());
  static const auto with_floating = FastCallsOf<double>(Indexes());
  return (floating_result ? with_floating : with_integer)[integers * kFloatingCounts + floating];
}

}  // namespace soswap
