#pragma once

#include <elf.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/elf/view.h"

namespace soswap::elf {

// PT_DYNAMIC, up to and including its first DT_NULL.
class Dynamic final {
 public:
  Dynamic() = default;
  explicit Dynamic(View section);

  // Entries before the terminator.
  std::size_t count() const noexcept { return count_; }
  // Entries that the section has room for, including the terminator and spare ones.
  std::size_t capacity() const noexcept { return section_.Count<Elf64_Dyn>(); }
  Elf64_Dyn At(std::size_t index) const { return section_.At<Elf64_Dyn>(index); }

  // The last entry with this tag, as the loader takes it.
  std::optional<std::size_t> IndexOf(std::int64_t tag) const;
  std::optional<std::uint64_t> Find(std::int64_t tag) const;
  std::uint64_t Require(std::int64_t tag, const std::string& name) const;
  bool Has(std::int64_t tag) const { return IndexOf(tag).has_value(); }

 private:
  // The tags that the loader heeds lie in three ranges.
  static constexpr std::int64_t kStandardTags = 48;
  static constexpr std::int64_t kGnuRange = 16;
  static constexpr std::size_t kKnown = kStandardTags + 2 * kGnuRange;
  // Where `tag` has its place in `last_`; kKnown for a tag of no such range.
  static constexpr std::size_t PlaceOf(std::int64_t tag) noexcept {
    constexpr std::int64_t kAddresses = DT_GNU_HASH / kGnuRange * kGnuRange;
    constexpr std::int64_t kVersions = DT_VERSYM / kGnuRange * kGnuRange;
    if (tag >= 0 && tag < kStandardTags) return static_cast<std::size_t>(tag);
    const std::int64_t range = tag / kGnuRange * kGnuRange;
    if (range == kAddresses) return static_cast<std::size_t>(kStandardTags + tag - range);
    if (range != kVersions) return kKnown;
    return static_cast<std::size_t>(kStandardTags + kGnuRange + tag - range);
  }

  View section_;
  std::size_t count_ = 0;
  // One more than the index of the last entry with each known tag; 0 for none. A file is asked for
  // dozens of tags, most of which it has not.
  std::array<std::size_t, kKnown> last_{};
};

// DT_STRTAB. The constructor checks that it ends in NUL, so every string in it ends too.
class Strings final {
 public:
  Strings() = default;
  explicit Strings(View table);

  std::string_view At(std::uint64_t offset) const { return table_.Text(offset); }
  bool IsEmptyAt(std::uint64_t offset) const { return table_.At<char>(offset) == '\0'; }
  bool Has(std::uint64_t offset) const noexcept { return offset < table_.size(); }

  Strings CopyTo(std::vector<std::vector<std::byte>>& tables) const {
    return Strings(table_.CopyTo(tables, table_.size()));
  }
  // The same text in another copy of the table.
  std::string_view In(const Strings& copy, std::string_view text) const {
    return copy.At(static_cast<std::uint64_t>(text.data() - At(0).data()));
  }

 private:
  View table_;
};

// Throws (kLoader) if this process runs a glibc older than 2.`minor`, whose dlopen(3) would crash
// on `what`. Other C libraries pass.
void RequireGlibc(unsigned minor, const char* what);

}  // namespace soswap::elf
