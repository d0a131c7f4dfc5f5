#include "core/elf/needed_name.h"

#include <elf.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/base/error.h"

namespace soswap {
namespace {

// The dynamic entries whose values are strings.
constexpr std::array<std::int64_t, 9> kStringTags = {DT_NEEDED,  DT_SONAME,    DT_RPATH,
                                                     DT_RUNPATH, DT_AUXILIARY, DT_FILTER,
                                                     DT_CONFIG,  DT_AUDIT,     DT_DEPAUDIT};

bool IsString(std::int64_t tag) {
  for (const std::int64_t each : kStringTags) {
    if (each == tag) return true;
  }
  return false;
}

// A place in the file that has the offset of a string, as 32 or 64 bits.
struct Reference {
  std::uint64_t at = 0;
  std::uint64_t string = 0;
  bool wide = false;
};

class Renaming final {
 public:
  Renaming(const ElfFile& file, std::string_view name)
      : file_(file), name_(name), table_(file.symbols().strings()) {
    const std::uint64_t size = *file.dynamic().Find(DT_STRSZ);
    used_.resize(size);
    used_.front() = true;  // the empty string
    ReadDynamic();
    ReadSymbols();
    ReadNeededVersions();
    ReadDefinedVersions();
  }

  bool IsNeeded() const noexcept { return needed_; }

  void Write(std::span<std::byte> copy, std::string_view replacement) const {
    const auto place = FindPlace();
    if (!place) {
      throw Error(Fault::kSharedName, "bind", file_.subject(),
                  "the name of its dependency '" + std::string(name_) +
                      "' is the end of another string in it, or a name of its own too; give the "
                      "dependency another name (-Wl,-soname,…) and link both again");
    }
    std::vector<char> text(replacement.begin(), replacement.end());
    text.push_back('\0');
    const std::uint64_t table_at =
        file_.memory().FileOffset(*file_.dynamic().Find(DT_STRTAB), "DT_STRTAB");
    Put(copy, table_at + *place, text.data(), text.size());
    for (const Reference& each : references_) {
      const auto narrow = static_cast<std::uint32_t>(*place);
      if (each.wide) {
        Put(copy, each.at, &*place, sizeof *place);
      } else {
        Put(copy, each.at, &narrow, sizeof narrow);
      }
    }
  }

 private:
  static void Put(std::span<std::byte> copy, std::uint64_t at, const void* data, std::size_t size) {
    if (at > copy.size() || copy.size() - at < size) {
      throw std::out_of_range("the copy is shorter than the file");
    }
    std::memcpy(copy.data() + at, data, size);
  }

  // A string that stays.
  void Use(std::uint64_t string) {
    for (std::uint64_t at = string; at < used_.size() && !used_[at]; ++at) {
      used_[at] = true;
      if (table_.IsEmptyAt(at)) return;
    }
  }

  void ReadDynamic() {
    const elf::Dynamic& dynamic = file_.dynamic();
    for (std::size_t i = 0; i < dynamic.count(); ++i) {
      const Elf64_Dyn entry = dynamic.At(i);
      if (!IsString(entry.d_tag) || !table_.Has(entry.d_un.d_val)) continue;
      if (entry.d_tag != DT_NEEDED || table_.At(entry.d_un.d_val) != name_) {
        Use(entry.d_un.d_val);
        continue;
      }
      needed_ = true;
      references_.push_back({file_.dynamic_offset() + i * sizeof entry + offsetof(Elf64_Dyn, d_un),
                             entry.d_un.d_val, true});
    }
  }

  void ReadSymbols() {
    const elf::Symbols& symbols = file_.symbols();
    for (std::size_t i = 1; i < symbols.count(); ++i) Use(symbols.At(i).st_name);
  }

  void ReadNeededVersions() {
    const auto address = file_.dynamic().Find(DT_VERNEED);
    if (!address) return;
    const elf::View records = file_.memory().ReadAll(*address, "DT_VERNEED");
    const std::uint64_t offset = file_.memory().FileOffset(*address, "DT_VERNEED");
    for (std::uint64_t at = 0;;) {
      const auto file = records.Read<Elf64_Verneed>(at);
      if (table_.At(file.vn_file) == name_) {
        references_.push_back({offset + at + offsetof(Elf64_Verneed, vn_file), file.vn_file});
      } else {
        Use(file.vn_file);
      }
      for (std::uint64_t version_at = at + file.vn_aux;;) {
        const auto version = records.Read<Elf64_Vernaux>(version_at);
        Use(version.vna_name);
        if (version.vna_next == 0) break;
        version_at += version.vna_next;
      }
      if (file.vn_next == 0) break;
      at += file.vn_next;
    }
  }

  void ReadDefinedVersions() {
    const auto address = file_.dynamic().Find(DT_VERDEF);
    if (!address) return;
    const elf::View records = file_.memory().ReadAll(*address, "DT_VERDEF");
    for (std::uint64_t at = 0;;) {
      const auto definition = records.Read<Elf64_Verdef>(at);
      // The loader reads the first name only; the others, of parents, are those of other records.
      Use(records.Read<Elf64_Verdaux>(at + definition.vd_aux).vda_name);
      if (definition.vd_next == 0) break;
      at += definition.vd_next;
    }
  }

  bool IsFree(std::uint64_t place) const {
    const std::uint64_t end = place + name_.size();
    if (end >= used_.size() || end > std::numeric_limits<std::uint32_t>::max()) return false;
    for (std::uint64_t at = place; at < end; ++at) {
      if (used_[at]) return false;
    }
    return !used_[end] || table_.IsEmptyAt(end);
  }

  std::optional<std::uint64_t> FindPlace() const {
    for (const Reference& each : references_) {
      if (IsFree(each.string)) return each.string;
    }
    for (std::uint64_t place = 1; place < used_.size(); ++place) {
      if (IsFree(place)) return place;
    }
    return std::nullopt;
  }

  const ElfFile& file_;
  std::string_view name_;
  const elf::Strings& table_;
  std::vector<bool> used_;  // bytes of the table
  std::vector<Reference> references_;
  bool needed_ = false;
};

}  // namespace

void RenameNeeded(const ElfFile& file, std::span<std::byte> copy, std::string_view name,
                  std::string_view replacement) {
  if (name.size() != replacement.size()) throw std::invalid_argument("the lengths differ");
  // The name may lie in the very bytes that are overwritten.
  const std::string kept(name);
  try {
    const Renaming renaming(file, kept);
    if (renaming.IsNeeded()) renaming.Write(copy, replacement);
  } catch (const elf::Defect& defect) {
    // An edit before this one changed a table that overlaps another.
    throw Error(defect.fault(), "bind", file.subject(), defect.what());
  }
}

}  // namespace soswap
