#include "core/life/kept_variables.h"

#include <link.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "core/base/error.h"
#include "core/elf/memory.h"
#include "core/life/host.h"

namespace soswap {
namespace {

constexpr std::string_view kPrefix = "soswap_keep_";

// What includes soswap.h exports soswap_abi, so that the symbols of others need not be walked.
template <typename Visit>
void ForEachKept(const ElfFile& elf, const Visit& visit) {
  if (!elf.Defines("soswap_abi")) return;
  const elf::Symbols& symbols = elf.symbols();
  for (std::size_t index = 1; index < symbols.count(); ++index) {
    const Elf64_Sym symbol = symbols.At(index);
    if (ELF64_ST_TYPE(symbol.st_info) != STT_OBJECT || !elf::IsExported(symbol)) continue;
    const std::string_view name = symbols.NameOf(symbol);
    if (name.starts_with(kPrefix)) visit(std::string(name.substr(kPrefix.size())), symbol);
  }
}

// Whether the range is memory that an image at this base can write, and that the loader has not
// protected since (PT_GNU_RELRO).
class Writable final {
 public:
  explicit Writable(uintptr_t base) : base_(base) { dl_iterate_phdr(Visit, this); }

  bool Holds(uintptr_t start, uint64_t size) const {
    return std::ranges::any_of(writable_,
                               [&](const auto& range) { return range.Contains(start, size); }) &&
           std::ranges::none_of(protected_,
                                [&](const auto& range) { return range.Overlaps(start, size); });
  }

 private:
  static int Visit(dl_phdr_info* info, size_t, void* data) {
    auto& self = *static_cast<Writable*>(data);
    if (info->dlpi_addr != self.base_) return 0;
    for (size_t i = 0; i < info->dlpi_phnum; ++i) {
      const ElfW(Phdr)& header = info->dlpi_phdr[i];
      const elf::Range range{info->dlpi_addr + header.p_vaddr, header.p_memsz};
      if (header.p_type == PT_LOAD && (header.p_flags & PF_W) != 0) self.writable_.push_back(range);
      if (header.p_type == PT_GNU_RELRO) self.protected_.push_back(range);
    }
    return 0;
  }

  uintptr_t base_;
  std::vector<elf::Range> writable_;
  std::vector<elf::Range> protected_;
};

// The first aligned word that is an address in this range.
bool PointsInto(const std::vector<std::byte>& bytes, uintptr_t address, uintptr_t start,
                uintptr_t end) {
  size_t offset = (sizeof(uintptr_t) - address % sizeof(uintptr_t)) % sizeof(uintptr_t);
  for (; offset + sizeof(uintptr_t) <= bytes.size(); offset += sizeof(uintptr_t)) {
    uintptr_t word = 0;
    std::memcpy(&word, bytes.data() + offset, sizeof(word));
    if (word >= start && word < end) return true;
  }
  return false;
}

}  // namespace

KeptVariables::KeptVariables(const ElfFile& elf, uintptr_t base, std::string path)
    : path_(std::move(path)), start_(base), end_(base + elf.facts().memory_size) {
  ForEachKept(elf, [&](std::string name, const Elf64_Sym& symbol) {
    soswap_kept said{};
    if (symbol.st_size < sizeof(said) || !elf.memory().Holds(symbol.st_value, sizeof(said), PF_R)) {
      defect_ = "soswap_keep_" + name + " is not what SOSWAP_KEEP of soswap.h makes";
      return;
    }
    std::memcpy(&said, reinterpret_cast<const void*>(base + symbol.st_value), sizeof(said));
    variables_.push_back({std::move(name), said.address, said.size, said.layout});
  });
  if (variables_.empty()) return;
  const Writable writable(base);
  for (const Variable& each : variables_) {
    if (each.size == 0 || writable.Holds(reinterpret_cast<uintptr_t>(each.address), each.size)) {
      continue;
    }
    defect_ = "it keeps " + each.name + ", which is no variable of it that can be written";
  }
  std::sort(variables_.begin(), variables_.end(),
            [](const auto& one, const auto& other) { return one.name < other.name; });
}

std::vector<std::string> KeptVariables::Names() const {
  std::vector<std::string> names;
  names.reserve(variables_.size());
  for (const Variable& each : variables_) names.push_back(each.name);
  return names;
}

void KeptVariables::AssertTrue(const char* operation) const {
  if (!defect_.empty()) throw Error(Fault::kKeptVariable, operation, path_, defect_);
}

std::vector<KeptValue> KeptVariables::Values() const {
  AssertTrue("swap");
  std::vector<KeptValue> values;
  values.reserve(variables_.size());
  for (const auto& [name, address, size, layout] : variables_) {
    const auto* bytes = static_cast<const std::byte*>(address);
    values.push_back({name, layout, {bytes, bytes + size}});
    if (PointsInto(values.back().bytes, reinterpret_cast<uintptr_t>(address), start_, end_)) {
      throw Error(Fault::kKeptVariable, "swap", path_,
                  "the kept variable " + name + " points into the image, which is about to go");
    }
  }
  return values;
}

void KeptVariables::Set(const std::vector<KeptValue>& values, std::vector<std::string>& kept,
                        std::vector<std::string>& reset) const {
  AssertTrue("load");
  for (const KeptValue& value : values) {
    const auto found = std::find_if(variables_.begin(), variables_.end(), [&](const auto& each) {
      return each.name == value.name && each.size == value.bytes.size() &&
             each.layout == value.layout;
    });
    if (found != variables_.end() && !value.bytes.empty()) {
      std::memcpy(found->address, value.bytes.data(), value.bytes.size());
    }
    (found == variables_.end() ? reset : kept).push_back(value.name);
  }
}

}  // namespace soswap
