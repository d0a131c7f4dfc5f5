#include "core/base/loader_name.h"

#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace soswap {

std::string NewLoaderName(int descriptor) {
  // Process-wide. The address keeps two copies of this addon in one process apart.
  static std::atomic<uint64_t> next{1};
  constexpr int kPageBits = 12;
  constexpr int kCopyBits = 16;
  constexpr uint64_t kCopyMask = (1 << kCopyBits) - 1;
  const uint64_t copy = (reinterpret_cast<uintptr_t>(&next) >> kPageBits) & kCopyMask;
  uint64_t number = next.fetch_add(1, std::memory_order_relaxed) << kCopyBits | copy;
  // Not /proc/self: a debugger would look the name up in its own process, and gdb hangs on it.
  std::string name = "/proc/" + std::to_string(getpid()) + "/fd/";
  // The bits of the number are spelled into the path, "/" for 0 and "./" for 1, which lead the
  // kernel to the same file.
  for (; number != 0; number >>= 1) name += (number & 1) != 0 ? "./" : "/";
  return name + std::to_string(descriptor);
}

}  // namespace soswap
