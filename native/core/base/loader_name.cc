#include "core/base/loader_name.h"

#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace soswap {

namespace {

constexpr int kCopyBits = 16;
constexpr uint64_t kCopyMask = (1 << kCopyBits) - 1;
constexpr int kDigitBits = 4;
constexpr uint64_t kDigitMask = (1 << kDigitBits) - 1;

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
  // The path spells the digits of the number, the lowest first: as many "/" as the digit counts,
  // then
  // "./". The kernel ignores both, and takes longer for the dots.
  for (; number != 0; number >>= kDigitBits) name.append(number & kDigitMask, '/') += "./";
  return name + std::to_string(descriptor);
}

uint64_t NumberOfLoaderName(std::string_view name) noexcept {
  constexpr std::string_view kMiddle = "/fd/";
  const size_t middle = name.find(kMiddle);
  if (!IsLoaderNameOfDescriptor(name) || middle == std::string_view::npos) return 0;
  std::string_view rest = name.substr(middle + kMiddle.size());
  uint64_t number = 0;
  for (int bit = 0; bit < 64; bit += kDigitBits) {
    const size_t digit = rest.find_first_not_of('/');
    if (digit > kDigitMask || !rest.substr(digit).starts_with("./")) break;
    number |= uint64_t{digit} << bit;
    rest.remove_prefix(digit + 2);
  }
  return (number & kCopyMask) == NumberOfCopy() ? number : 0;
}

}  // namespace soswap
