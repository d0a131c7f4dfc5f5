#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

// One C call whose signature is known only at run time. Works on x86-64 (System V) and on arm64
// (AAPCS64, Linux), where integers and pointers have one set of registers, floating-point numbers
// another, and what finds no register lies on the stack in 8-byte slots, in order. So a call needs
// nothing but an array of 64-bit words: first the integer registers, then the floating-point ones,
// then the stack. Variadic functions and structures by value are not covered.

namespace soswap {

#if defined(__x86_64__)
inline constexpr size_t kIntegerRegisters = 6;
inline constexpr size_t kFloatingRegisters = 8;
#elif defined(__aarch64__)
inline constexpr size_t kIntegerRegisters = 8;
inline constexpr size_t kFloatingRegisters = 8;
#else
#error "soswap can call C functions on x86-64 and arm64 only"
#endif
inline constexpr size_t kRegisterWords = kIntegerRegisters + kFloatingRegisters;

// What decides in which registers an argument travels.
enum class ArgumentClass : uint8_t { kInteger, kFloating };

// Where each argument of a signature goes. Made once, when a function is bound.
class CallPlan final {
 public:
  CallPlan() = default;
  explicit CallPlan(std::span<const ArgumentClass> arguments);

  // The word of the frame that takes this argument. An integer narrower than 64 bits must be sign-
  // or zero-extended to the whole word; a float lies in its low 32 bits.
  uint32_t word(size_t argument) const { return words_[argument]; }
  size_t word_count() const noexcept { return kRegisterWords + stack_count_; }
  size_t stack_count() const noexcept { return stack_count_; }
  size_t floating_count() const noexcept { return floating_count_; }

 private:
  std::vector<uint32_t> words_;
  size_t stack_count_ = 0;
  size_t floating_count_ = 0;  // floating-point registers in use
};

// What came back in the integer result register and in the floating-point one. The bits of a word
// above those of the function's return type mean nothing.
struct CallResult {
  uint64_t integer;
  double floating;  // a float lies in the low 32 bits
};

// The words of one call. Small frames need no memory but the caller's stack. The words start
// undefined: a register that the plan does not use carries whatever lay there.
class CallFrame final {
 public:
  explicit CallFrame(const CallPlan& plan)
      : plan_(plan),
        large_(plan.word_count() > kSmall ? new uint64_t[plan.word_count()] : nullptr),
        words_(large_ ? large_.get() : small_) {}
  CallFrame(const CallFrame&) = delete;
  CallFrame& operator=(const CallFrame&) = delete;
  ~CallFrame() = default;

  uint64_t* words() noexcept { return words_; }

  // Calls the function at `address`. A C++ exception that it throws passes through.
  CallResult Call(void* address) const;

 private:
  static constexpr size_t kSmall = kRegisterWords + 10;

  const CallPlan& plan_;
  std::unique_ptr<uint64_t[]> large_;
  uint64_t* words_;
  uint64_t small_[kSmall];
};

// The assembly behind CallFrame::Call. `words` holds kRegisterWords words, then `stack_count` more.
extern "C" CallResult soswap_call(void* address, const uint64_t* words, size_t stack_count,
                                  size_t floating_count);

inline CallResult CallFrame::Call(void* address) const {
  return soswap_call(address, words_, plan_.stack_count(), plan_.floating_count());
}

}  // namespace soswap
