#pragma once

#include <unistd.h>

#include <cstdint>

namespace soswap {

// Bytes of one page of memory.
inline uint64_t PageSize() noexcept {
  static const auto size = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return size;
}

inline uint64_t PageFloor(uint64_t address) noexcept { return address & ~(PageSize() - 1); }

inline uint64_t PageCeiling(uint64_t address) noexcept {
  return PageFloor(address + PageSize() - 1);
}

}  // namespace soswap
