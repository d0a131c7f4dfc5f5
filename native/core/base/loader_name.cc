#include "core/base/loader_name.h"

#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace soswap {

namespace {

constexpr int kCopyBits = 16;
constexpr uint64_t kCopyMask = (1 << kCopyBits) - 1;

std::atomic<uint64_t> next_number{1};  // process-wide

// Keeps two copies of this addon in one process apart.
uint64_t NumberOfCopy() noexcept {
  constexpr int kPageBits = 12;
  return (reinterpret_cast<uintptr_t>(&next_number) >> kPageBits) & kCopyMask;
}

}  // namespace

std::string NewLoaderName(int descriptor) {
  uint64_t number =
      next_number.fetch_add(1, std::memory_order_relaxed) << kCopyBits | NumberOfCopy();
  // Not /proc/self: a debugger would look the name up in its own process, and gdb hangs on it.
  std::string name = "/proc/" + std::to_string(getpid()) + "/fd/";
  // The path spells the bits of the number, "/" for 0 and "./" for 1. The kernel ignores both.
  for (; number != 0; number >>= 1) name += (number & 1) != 0 ? "./" : "/";
  return name + std::to_string(descriptor);
}

uint64_t NumberOfLoaderName(std::string_view name) noexcept {
  constexpr std::string_view kMiddle = "/fd/";
  const size_t middle = name.find(kMiddle);
  if (!IsLoaderNameOfDescriptor(name) || middle == std::string_view::npos) return 0;
  uint64_t number = 0;
  int bit = 0;
  for (size_t at = middle + kMiddle.size(); at < name.size() && bit < 64; ++bit) {
    const bool one = name[at] == '.';
    at += one ? 1 : 0;
    if (at >= name.size() || name[at] != '/') break;
    if (one) number |= uint64_t{1} << bit;
    ++at;
  }
  return (number & kCopyMask) == NumberOfCopy() ? number : 0;
}

}  // namespace soswap
