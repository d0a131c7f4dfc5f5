#include "core/elf/memory.h"

#include <elf.h>

#include <array>
#include <charconv>
#include <utility>

#include "core/base/page.h"

namespace soswap::elf {
namespace {

// Addresses above this belong to the kernel on every supported machine, so sums cannot wrap.
constexpr std::uint64_t kAddressLimit = std::uint64_t{1} << 47;

void CheckSegment(const Segment& segment, std::size_t file_size) {
  const std::string where = "PT_LOAD at " + Hex(segment.address);
  if (segment.file_size > segment.memory_size) {
    Malformed(where + " takes more bytes from the file than it has memory for");
  }
  if (segment.address > kAddressLimit || segment.memory_size > kAddressLimit) {
    Malformed(where + " lies outside the address space");
  }
  if (((segment.address - segment.offset) & (PageSize() - 1)) != 0) {
    Malformed(where + " and its file offset " + Hex(segment.offset) +
              " differ in their place on the page");
  }
  if (segment.memory_size > segment.file_size && (segment.flags & PF_W) == 0) {
    Malformed(where + " has zero-filled memory that cannot be written");
  }
  // The loader zeroes the rest of the page on which the file's bytes end through the file mapping.
  const std::uint64_t data_end = segment.offset + segment.file_size;
  if (segment.memory_size > segment.file_size && data_end != PageFloor(data_end) &&
      PageFloor(data_end) >= file_size) {
    Malformed(where + " has zero-filled memory that begins past the end of the file");
  }
}

// Linkers give no two segments the same bytes, so one of the offsets is wrong.
void CheckOverlap(const std::vector<Segment>& segments) {
  std::uint64_t end = 0;
  for (const Segment& segment : segments) {
    if (segment.file_size == 0) continue;
    if (segment.offset < end) {
      Malformed("PT_LOAD at " + Hex(segment.address) + " takes bytes of the one before it");
    }
    end = segment.offset + segment.file_size;
  }
}

// The loader maps whole pages over existing mappings, so no two segments may share one.
void CheckOrder(const std::vector<Segment>& segments) {
  std::uint64_t end = 0;
  for (const Segment& segment : segments) {
    const std::uint64_t segment_end = PageCeiling(segment.address + segment.memory_size);
    if (segment_end == PageFloor(segment.address)) continue;
    if (PageFloor(segment.address) < end) {
      Malformed("PT_LOAD at " + Hex(segment.address) + " overlaps or precedes the one before it");
    }
    end = segment_end;
  }
}

}  // namespace

std::string Hex(std::uint64_t value) {
  std::array<char, 16> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value, 16).ptr;
  return "0x" + std::string(digits.data(), end);
}

Memory::Memory(std::span<const std::byte> file, std::vector<Segment> segments)
    : file_(file), segments_(std::move(segments)) {
  for (const Segment& segment : segments_) CheckSegment(segment, file.size());
  CheckOrder(segments_);
  CheckOverlap(segments_);
}

const Segment& Memory::Find(std::uint64_t address, std::uint64_t size, const char* name) const {
  for (const Segment& segment : segments_) {
    if (!Range{segment.address, segment.file_size}.Contains(address, size)) continue;
    if ((segment.flags & PF_R) == 0) Malformed(std::string(name) + " lies in unreadable memory");
    return segment;
  }
  Malformed(std::string(name) + " at " + Hex(address) + " with " + std::to_string(size) +
            " bytes lies outside the bytes loaded from the file");
}

View Memory::Read(std::uint64_t address, std::uint64_t size, const char* name) const {
  const Segment& segment = Find(address, size, name);
  return View(file_.subspan(segment.offset + (address - segment.address), size), name);
}

View Memory::ReadAll(std::uint64_t address, const char* name) const {
  const Segment& segment = Find(address, 1, name);
  return Read(address, segment.file_size - (address - segment.address), name);
}

std::uint64_t Memory::FileOffset(std::uint64_t address, const char* name) const {
  const Segment& segment = Find(address, 1, name);
  return segment.offset + (address - segment.address);
}

bool Memory::Spans(std::uint64_t address) const noexcept {
  if (segments_.empty()) return false;
  const Segment& last = segments_.back();
  return address >= segments_.front().address && address <= last.address + last.memory_size;
}

bool Memory::Holds(std::uint64_t address, std::uint64_t size, std::uint32_t flags) const noexcept {
  for (const Segment& segment : segments_) {
    if (!Range{segment.address, segment.memory_size}.Contains(address, size)) continue;
    return (segment.flags & flags) == flags;
  }
  return false;
}

}  // namespace soswap::elf
