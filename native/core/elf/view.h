#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/base/error.h"

namespace soswap::elf {

// The reason why bytes are refused. ElfFile::Parse turns it into an Error that names the file.
class Defect final : public std::runtime_error {
 public:
  Defect(Fault fault, const std::string& reason) : std::runtime_error(reason), fault_(fault) {}

  Fault fault() const noexcept { return fault_; }

 private:
  Fault fault_;
};

[[noreturn]] inline void Malformed(const std::string& reason) {
  throw Defect(Fault::kMalformed, reason);
}

// A range of the file. Every read is checked against its bounds and copied, because tables in a
// hostile file may have any alignment.
class View final {
 public:
  View() = default;
  View(std::span<const std::byte> bytes, const char* name) : bytes_(bytes), name_(name) {}

  std::size_t size() const noexcept { return bytes_.size(); }

  template <typename T>
  std::size_t Count() const noexcept {
    return bytes_.size() / sizeof(T);
  }

  template <typename T>
  T Read(std::uint64_t offset) const {
    static_assert(std::is_trivially_copyable_v<T>);
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(T)) PastTheEnd();
    T value{};
    std::memcpy(&value, bytes_.data() + offset, sizeof(T));
    return value;
  }

  template <typename T>
  T At(std::uint64_t index) const {
    if (index >= Count<T>()) PastTheEnd();
    return Read<T>(index * sizeof(T));
  }

  View Part(std::uint64_t offset, std::uint64_t size) const {
    if (offset > bytes_.size() || bytes_.size() - offset < size) PastTheEnd();
    return View(bytes_.subspan(offset, size), name_);
  }

  // A view of a copy of the first `size` bytes. The copy is added to `copies`.
  View CopyTo(std::vector<std::vector<std::byte>>& copies, std::uint64_t size) const {
    const std::span<const std::byte> bytes = Part(0, size).bytes_;
    return View(copies.emplace_back(bytes.begin(), bytes.end()), name_);
  }

  // The string that begins here. It ends at a NUL or with the view.
  std::string_view Text(std::uint64_t offset) const {
    if (offset >= bytes_.size()) PastTheEnd();
    const char* start = reinterpret_cast<const char*>(bytes_.data()) + offset;
    return std::string_view(start, ::strnlen(start, bytes_.size() - offset));
  }

 private:
  [[noreturn]] void PastTheEnd() const { Malformed(std::string(name_) + " is read past its end"); }

  std::span<const std::byte> bytes_;
  const char* name_ = "";
};

}  // namespace soswap::elf
