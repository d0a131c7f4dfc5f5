#include "core/call/call_frame.h"

#include <doctest/doctest.h>

#include <bit>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using soswap::ArgumentClass;
using soswap::CallFrame;
using soswap::CallPlan;
using soswap::CallResult;

namespace {

uint64_t Word(double value) { return std::bit_cast<uint64_t>(value); }
uint64_t Word(float value) { return std::bit_cast<uint32_t>(value); }
template <typename Integer>
uint64_t Word(Integer value) {
  return static_cast<uint64_t>(static_cast<int64_t>(value));
}
uint64_t Word(uint64_t value) { return value; }
template <typename Pointee>
uint64_t Word(Pointee* value) {
  return reinterpret_cast<uint64_t>(value);
}

template <typename Argument>
constexpr ArgumentClass kClass =
    std::is_floating_point_v<Argument> ? ArgumentClass::kFloating : ArgumentClass::kInteger;

// Calls `function` through a frame, with arguments of exactly its parameter types.
template <typename Result, typename... Parameters>
CallResult Call(Result (*function)(Parameters...), std::type_identity_t<Parameters>... arguments) {
  const std::vector<ArgumentClass> classes = {kClass<Parameters>...};
  const CallPlan plan(classes);
  CallFrame frame(plan);
  size_t index = 0;
  ((frame.words()[plan.word(index++)] = Word(arguments)), ...);
  return frame.Call(reinterpret_cast<void*>(function));
}

float AsFloat(CallResult result) {
  return std::bit_cast<float>(static_cast<uint32_t>(std::bit_cast<uint64_t>(result.floating)));
}

// The functions that are called. Nothing of them may be inlined into the tests.

[[gnu::noinline]] int64_t Nothing() { return 42; }
[[gnu::noinline]] int8_t NarrowSigned(int8_t a) { return a; }
[[gnu::noinline]] uint16_t NarrowUnsigned(uint16_t a) { return a; }
[[gnu::noinline]] float Half(float a) { return a / 2; }
[[gnu::noinline]] double Difference(double a, double b) { return a - b; }

[[gnu::noinline]] uint64_t Integers12(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                                      uint64_t f, uint64_t g, uint64_t h, uint64_t i, uint64_t j,
                                      uint64_t k, uint64_t l) {
  return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j + 11 * k +
         12 * l;
}

[[gnu::noinline]] double Doubles11(double a, double b, double c, double d, double e, double f,
                                   double g, double h, double i, double j, double k) {
  return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j + 11 * k;
}

std::string* seen;

// More of each class than there are registers, on both architectures, and in turns.
[[gnu::noinline]] float Mixed(int8_t a, double b, uint16_t c, float d, int32_t e, double f,
                              uint64_t g, float h, int64_t i, double j, uint8_t k, float l,
                              int16_t m, double n, uint32_t o, float p, const char* q, double r,
                              bool s, float t, int8_t u, double v) {
  char text[512];
  snprintf(text, sizeof text,
           "%d %g %d %g %d %g %llu %g %lld %g %d %g %d %g %u %g %s %g %d %g %d %g", a, b, c,
           static_cast<double>(d), e, f, static_cast<unsigned long long>(g), static_cast<double>(h),
           static_cast<long long>(i), j, k, static_cast<double>(l), m, n, o, static_cast<double>(p),
           q, r, s, static_cast<double>(t), u, v);
  *seen = text;
  return 0.5F;
}

// SSE instructions and the calling conventions want the stack aligned to 16 bytes.
template <typename... Parameters>
[[gnu::noinline]] uint64_t StackMisalignment(Parameters...) {
  alignas(16) volatile char aligned[16];
  return reinterpret_cast<uintptr_t>(&aligned) % 16 +
         reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) % 16;
}

[[gnu::noinline]] int64_t ThrowIf(int64_t value) {
  if (value != 0) throw std::runtime_error("value " + std::to_string(value));
  return 7;
}

[[gnu::noinline]] int64_t ThrowFromStack(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e,
                                         int64_t f, int64_t g, int64_t h, int64_t i, int64_t j) {
  throw a + b + c + d + e + f + g + h + i + j;
}

[[gnu::noinline]] int64_t Again(int64_t depth) {
  if (depth == 0) return 0;
  return static_cast<int64_t>(Call(Again, depth - 1).integer) + 1;
}

}  // namespace

TEST_CASE("a function without arguments") { CHECK(Call(Nothing).integer == 42); }

TEST_CASE("narrow integers") {
  for (const int value : {-128, -1, 0, 1, 127}) {
    CHECK(static_cast<int8_t>(Call(NarrowSigned, static_cast<int8_t>(value)).integer) == value);
  }
  for (const int value : {0, 1, 65535}) {
    const auto result = Call(NarrowUnsigned, static_cast<uint16_t>(value));
    CHECK(static_cast<uint16_t>(result.integer) == value);
  }
}

TEST_CASE("floating-point numbers") {
  CHECK(AsFloat(Call(Half, 5.0F)) == 2.5F);
  CHECK(AsFloat(Call(Half, -0.0F)) == 0.0F);
  CHECK(Call(Difference, 5.0, 7.5).floating == -2.5);
  CHECK(Call(Difference, std::numeric_limits<double>::infinity(), 1.0).floating ==
        std::numeric_limits<double>::infinity());
}

TEST_CASE("arguments beyond the registers are on the stack, in order") {
  CHECK(Call(Integers12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12).integer == 650);
  CHECK(Call(Doubles11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11).floating == 506);
}

TEST_CASE("mixed arguments keep their registers and their places on the stack") {
  std::string text;
  seen = &text;
  const CallResult result = Call(Mixed, -1, 2.5, 3, 4.5F, -5, 6.5, 7, 8.5F, -9, 10.5, 11, 12.5F,
                                 -13, 14.5, 15, 16.5F, "text", 18.5, true, 20.5F, -21, 22.5);
  CHECK(text ==
        "-1 2.5 3 4.5 -5 6.5 7 8.5 -9 10.5 11 12.5 -13 14.5 15 16.5 text 18.5 1 20.5 -21 22.5");
  CHECK(AsFloat(result) == 0.5F);
}

TEST_CASE("the stack is aligned, whatever lies on it") {
  CHECK(Call(StackMisalignment<>).integer == 0);
  const auto check = []<size_t... kIndexes>(std::index_sequence<kIndexes...>) {
    return Call(StackMisalignment<decltype(uint64_t{kIndexes})...>, uint64_t{kIndexes}...).integer;
  };
  CHECK(check(std::make_index_sequence<7>()) == 0);
  CHECK(check(std::make_index_sequence<8>()) == 0);
  CHECK(check(std::make_index_sequence<9>()) == 0);
  CHECK(check(std::make_index_sequence<10>()) == 0);
  CHECK(check(std::make_index_sequence<11>()) == 0);
}

TEST_CASE("a plan counts its registers and stack slots") {
  const std::vector<ArgumentClass> classes(20, ArgumentClass::kFloating);
  const CallPlan plan(classes);
  CHECK(plan.floating_count() == soswap::kFloatingRegisters);
  CHECK(plan.stack_count() == 20 - soswap::kFloatingRegisters);
  CHECK(plan.word(0) == soswap::kIntegerRegisters);
  CHECK(plan.word(19) == plan.word_count() - 1);
}

TEST_CASE("thousands of arguments") {
  const std::vector<ArgumentClass> classes(10'000, ArgumentClass::kInteger);
  const CallPlan plan(classes);
  CallFrame frame(plan);
  for (size_t index = 0; index < classes.size(); ++index) frame.words()[plan.word(index)] = index;
  const uint64_t expected = Integers12(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
  CHECK(frame.Call(reinterpret_cast<void*>(Integers12)).integer == expected);
}

TEST_CASE("a C++ exception passes through the frame") {
  for (int round = 0; round < 3; ++round) {
    CHECK_THROWS_WITH_AS(Call(ThrowIf, 3), "value 3", std::runtime_error);
    CHECK(Call(ThrowIf, 0).integer == 7);
    CHECK_THROWS_AS(Call(ThrowFromStack, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), int64_t);
  }
}

TEST_CASE("calls nest") { CHECK(Call(Again, 1000).integer == 1000); }

TEST_CASE("calls run on many threads at once") {
  std::vector<std::jthread> threads;
  for (uint64_t number = 0; number < 4; ++number) {
    threads.emplace_back([number] {
      for (uint64_t round = 0; round < 10'000; ++round) {
        const uint64_t got =
            Call(Integers12, number, round, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12).integer;
        if (got != number + 2 * round + 645) FAIL("another thread's arguments");
      }
    });
  }
}
