#include "core/tracking/thunks.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <utility>

namespace soswap {
namespace {

#if defined(__x86_64__)

// mov word(%rip), REGISTER; jmp *target(%rip). After six arguments, which take all registers that
// there are for them, the word comes in %rax.
void Write(std::byte* code, unsigned arguments, const uintptr_t* word, const uintptr_t* target) {
  constexpr std::array<std::array<uint8_t, 3>, 7> kMoves{{{0x48, 0x8B, 0x3D},
                                                          {0x48, 0x8B, 0x35},
                                                          {0x48, 0x8B, 0x15},
                                                          {0x48, 0x8B, 0x0D},
                                                          {0x4C, 0x8B, 0x05},
                                                          {0x4C, 0x8B, 0x0D},
                                                          {0x48, 0x8B, 0x05}}};
  constexpr std::array<uint8_t, 2> kJump{0xFF, 0x25};
  const auto distance = [](const void* from, const void* to) {
    return static_cast<int32_t>(static_cast<const std::byte*>(to) -
                                static_cast<const std::byte*>(from));
  };
  const auto& move = kMoves.at(arguments);
  std::memcpy(code, move.data(), move.size());
  int32_t offset = distance(code + 7, word);
  std::memcpy(code + 3, &offset, sizeof(offset));
  std::memcpy(code + 7, kJump.data(), kJump.size());
  offset = distance(code + 13, target);
  std::memcpy(code + 9, &offset, sizeof(offset));
}

#elif defined(__aarch64__)

// ldr REGISTER, word; ldr x16, target; br x16
void Write(std::byte* code, unsigned arguments, const uintptr_t* word, const uintptr_t* target) {
  const auto load = [](const std::byte* at, const void* from, unsigned target_register) {
    const auto distance = static_cast<const std::byte*>(from) - at;
    return 0x58000000U | (static_cast<uint32_t>(distance / 4) & 0x7FFFFU) << 5 | target_register;
  };
  const std::array<uint32_t, 3> instructions{load(code, word, arguments),
                                             load(code + 4, target, 16), 0xD61F0200U};
  std::memcpy(code, instructions.data(), sizeof(instructions));
}

#endif

size_t Pages(size_t bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

}  // namespace

Thunks::Set Thunks::Make() {
  const std::lock_guard lock(mutex_);
  if (spare_.empty() && !MapMore()) return {};
  const Set set = spare_.back();
  spare_.pop_back();
  return set;
}

// Code first, which nobody can write once it runs, then the words: the targets, and one of each
// set.
bool Thunks::MapMore() {
#if defined(__x86_64__) || defined(__aarch64__)
  const size_t size = targets_.size() * kSize;
  const size_t code_size = Pages(size * 16);
  const size_t sets = code_size / size;
  const size_t data_size = Pages((targets_.size() + sets) * sizeof(uintptr_t));
  spare_.reserve(sets);
  void* memory = mmap(nullptr, code_size + data_size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  auto* code = static_cast<std::byte*>(memory);
  auto* words = reinterpret_cast<uintptr_t*>(code + code_size);
  for (size_t index = 0; index < targets_.size(); ++index) words[index] = targets_[index].function;
  for (size_t set = 0; set < sets; ++set) {
    uintptr_t* word = words + targets_.size() + set;
    for (size_t index = 0; index < targets_.size(); ++index) {
      Write(code + set * size + index * kSize, targets_[index].arguments, word, words + index);
    }
    spare_.push_back({reinterpret_cast<uintptr_t>(code + set * size), word});
  }
  if (mprotect(memory, code_size, PROT_READ | PROT_EXEC) != 0) {
    spare_.clear();
    munmap(memory, code_size + data_size);
    return false;
  }
  __builtin___clear_cache(reinterpret_cast<char*>(code), reinterpret_cast<char*>(code + code_size));
  return true;
#else
  return false;
#endif
}

}  // namespace soswap
