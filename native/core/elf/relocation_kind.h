#pragma once

#include <elf.h>

#include <cstdint>

namespace soswap::elf {

// The effects of this machine's relocations on memory that could crash the loader.
enum class Effect {
  kNone,
  kRelative,  // base plus addend
  kIndirect,  // the result of the function at base plus addend
  kSymbol,    // an address that another object may supply
  kSlot,      // the same in the global offset table, which is aligned
  kCall,      // the same for a call through DT_JMPREL, perhaps bound at the first one
  kThread,    // a place in thread-local storage
  kSize,      // the size of a symbol, which the loader reads even if it found no symbol
  kCopy,      // the data of another object; only programs have it
  kUnknown,   // the loader refuses it
};

struct Kind {
  Effect effect;
  std::uint64_t width;  // bytes written
};

#if defined(__x86_64__)
inline Kind KindOf(std::uint64_t type) {
  switch (type) {
    case R_X86_64_NONE:
      return {Effect::kNone, 0};
    case R_X86_64_RELATIVE:
      return {Effect::kRelative, 8};
    case R_X86_64_IRELATIVE:
      return {Effect::kIndirect, 8};
    case R_X86_64_GLOB_DAT:
      return {Effect::kSlot, 8};
    case R_X86_64_JUMP_SLOT:
      return {Effect::kCall, 8};
    case R_X86_64_64:
    case R_X86_64_PC64:
      return {Effect::kSymbol, 8};
    case R_X86_64_32:
    case R_X86_64_PC32:
      return {Effect::kSymbol, 4};
    case R_X86_64_SIZE64:
      return {Effect::kSize, 8};
    case R_X86_64_SIZE32:
      return {Effect::kSize, 4};
    case R_X86_64_DTPMOD64:
    case R_X86_64_DTPOFF64:
    case R_X86_64_TPOFF64:
      return {Effect::kThread, 8};
    case R_X86_64_TLSDESC:
      return {Effect::kThread, 16};
    case R_X86_64_COPY:
      return {Effect::kCopy, 0};
    default:
      return {Effect::kUnknown, 0};
  }
}
inline constexpr std::uint64_t kCodeAlignment = 1;
#elif defined(__aarch64__)
inline Kind KindOf(std::uint64_t type) {
  switch (type) {
    case R_AARCH64_NONE:
      return {Effect::kNone, 0};
    case R_AARCH64_RELATIVE:
      return {Effect::kRelative, 8};
    case R_AARCH64_IRELATIVE:
      return {Effect::kIndirect, 8};
    case R_AARCH64_GLOB_DAT:
      return {Effect::kSlot, 8};
    case R_AARCH64_JUMP_SLOT:
      return {Effect::kCall, 8};
    case R_AARCH64_ABS64:
      return {Effect::kSymbol, 8};
    case R_AARCH64_ABS32:
      return {Effect::kSymbol, 4};
    case R_AARCH64_TLS_DTPMOD:
    case R_AARCH64_TLS_DTPREL:
    case R_AARCH64_TLS_TPREL:
      return {Effect::kThread, 8};
    case R_AARCH64_TLSDESC:
      return {Effect::kThread, 16};
    case R_AARCH64_COPY:
      return {Effect::kCopy, 0};
    default:
      return {Effect::kUnknown, 0};
  }
}
inline constexpr std::uint64_t kCodeAlignment = 4;
#else
#error "soswap knows the relocations of x86-64 and AArch64"
#endif

}  // namespace soswap::elf
