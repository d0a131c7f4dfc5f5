#include "core/base/loader_name.h"

#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace soswap {

std::string NewLoaderName(int descriptor) {
  // Process-wide. Two copies of this addon in one process have this variable at different
  // addresses, and so different names.
  static std::atomic<uint64_t> next{1};
  constexpr int kPageBits = 12;
  constexpr int kCopyBits = 16;
  constexpr uint64_t kCopyMask = (1 << kCopyBits) - 1;
  const uint64_t copy = (reinterpret_cast<uintptr_t>(&next) >> kPageBits) & kCopyMask;
  uint64_t number = next.fetch_add(1, std::memory_order_relaxed) << kCopyBits | copy;
  // Not /proc/self: a debugger would look the name up in its own process, and gdb hangs on it.
  std::string name = "/proc/" + std::to_string(getpid()) + "/fd/";
  // The path spells the bits of the number, "/" for 0 and "./" for 1. The kernel ignores both.
  for (; number != 0; number >>= 1) name += (number & 1) != 0 ? "./" : "/";
  return name + std::to_string(descriptor);
}

}  // namespace soswap
