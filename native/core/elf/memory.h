#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/elf/view.h"

namespace soswap::elf {

// Addresses are those of the file (p_vaddr); the loader adds one base to all of them.
struct Range {
  std::uint64_t start = 0;
  std::uint64_t size = 0;

  bool Contains(std::uint64_t address, std::uint64_t length) const noexcept {
    return address >= start && address - start <= size && length <= size - (address - start);
  }
  bool Overlaps(std::uint64_t address, std::uint64_t length) const noexcept {
    if (size == 0) return false;
    return address >= start ? address - start < size : start - address < length;
  }
  // The part of this range around `address` that does not overlap `other`. This range contains the
  // address; the result is empty if `other` contains it too.
  Range Without(const Range& other, std::uint64_t address) const noexcept {
    if (size == 0 || other.size == 0) return *this;
    if (address < other.start) return {start, std::min(size, other.start - start)};
    if (address - other.start < other.size) return {};
    const std::uint64_t cut = std::max(start, other.start + other.size) - start;
    return {start + cut, size - cut};
  }
};

// PT_LOAD
struct Segment {
  std::uint64_t offset = 0;
  std::uint64_t file_size = 0;
  std::uint64_t address = 0;
  std::uint64_t memory_size = 0;
  std::uint32_t flags = 0;  // PF_R, PF_W, PF_X
};

std::string Hex(std::uint64_t value);

// The memory of the object after the loader has mapped the segments.
class Memory final {
 public:
  Memory() = default;
  // Refuses segments that the loader would map over each other or over other memory.
  Memory(std::span<const std::byte> file, std::vector<Segment> segments);

  const std::vector<Segment>& segments() const noexcept { return segments_; }

  // The bytes at an address; all of them must come from the file and be readable.
  View Read(std::uint64_t address, std::uint64_t size, const char* name) const;
  // The bytes from an address to the end of what its segment takes from the file.
  View ReadAll(std::uint64_t address, const char* name) const;
  std::uint64_t FileOffset(std::uint64_t address, const char* name) const;

  // Whether the address lies between the start of the first segment and the end of the last, which
  // symbols may have as their address.
  bool Spans(std::uint64_t address) const noexcept;
  // Whether one segment holds the whole range, including zero-filled memory, with all these PF_
  // flags.
  bool Holds(std::uint64_t address, std::uint64_t size, std::uint32_t flags) const noexcept;

 private:
  const Segment& Find(std::uint64_t address, std::uint64_t size, const char* name) const;

  std::span<const std::byte> file_;
  std::vector<Segment> segments_;
};

}  // namespace soswap::elf
