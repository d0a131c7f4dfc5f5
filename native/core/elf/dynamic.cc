#include "core/elf/dynamic.h"

#include <string>

#include "core/base/glibc.h"

namespace soswap::elf {

Dynamic::Dynamic(View section) : section_(section) {
  for (; count_ < capacity(); ++count_) {
    const std::int64_t tag = At(count_).d_tag;
    if (tag == DT_NULL) break;
    if (const std::size_t place = PlaceOf(tag); place != kKnown) {
      last_.at(place) = count_ + 1;
    }
  }
  if (count_ == capacity()) Malformed("the dynamic section does not end in DT_NULL");
  for (std::size_t i = count_; i < capacity(); ++i) {
    if (At(i).d_tag != DT_NULL) Malformed("the dynamic section goes on after DT_NULL");
  }
}

std::optional<std::size_t> Dynamic::IndexOf(std::int64_t tag) const {
  if (const std::size_t place = PlaceOf(tag); place != kKnown) {
    if (last_.at(place) == 0) return std::nullopt;
    return last_.at(place) - 1;
  }
  for (std::size_t i = count_; i > 0; --i) {
    if (At(i - 1).d_tag == tag) return i - 1;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> Dynamic::Find(std::int64_t tag) const {
  const auto index = IndexOf(tag);
  if (!index) return std::nullopt;
  return At(*index).d_un.d_val;
}

std::uint64_t Dynamic::Require(std::int64_t tag, const std::string& name) const {
  const auto value = Find(tag);
  if (!value) Malformed("the dynamic section has no " + name);
  return *value;
}

Strings::Strings(View table) : table_(table) {
  if (table.size() == 0 || table.At<char>(table.size() - 1) != '\0') {
    Malformed("DT_STRTAB does not end in NUL");
  }
}

void RequireGlibc(unsigned minor, const char* what) {
  const auto running = GlibcMinor();
  if (!running || *running >= minor) return;
  throw Defect(Fault::kLoader, std::string(what) + " needs glibc 2." + std::to_string(minor) +
                                   ", this process runs 2." + std::to_string(*running));
}

}  // namespace soswap::elf
