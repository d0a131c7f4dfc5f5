#include "core/elf/name_hints.h"

#include <cstddef>

namespace soswap {
namespace {

// Takes a <source-name> from the front: its length in decimal digits, and as many characters.
std::optional<std::string_view> TakeSourceName(std::string_view& mangled) {
  std::size_t length = 0;
  std::size_t digits = 0;
  while (digits < mangled.size() && mangled[digits] >= '0' && mangled[digits] <= '9') {
    length = length * 10 + static_cast<std::size_t>(mangled[digits++] - '0');
    if (length > mangled.size()) return std::nullopt;
  }
  if (digits == 0 || length > mangled.size() - digits) return std::nullopt;
  const std::string_view name = mangled.substr(digits, length);
  mangled.remove_prefix(digits + length);
  return name;
}

bool Take(std::string_view& mangled, std::string_view prefix) {
  if (!mangled.starts_with(prefix)) return false;
  mangled.remove_prefix(prefix.size());
  return true;
}

bool IsFunctionNamed(std::string_view mangled, std::string_view name) {
  if (!Take(mangled, "_Z")) return false;
  if (!Take(mangled, "N")) return TakeSourceName(mangled) == name;
  while (Take(mangled, "r") || Take(mangled, "V") || Take(mangled, "K")) {
  }
  std::optional<std::string_view> last;
  while (const auto next = TakeSourceName(mangled)) last = next;
  return last == name && mangled.starts_with('E');
}

}  // namespace

std::vector<std::string> MangledNames(const ElfFile& elf, std::string_view name) {
  std::vector<std::string> names;
  for (const ElfExport& symbol : elf.Exports()) {
    if (symbol.type == ElfType::kFunction && IsFunctionNamed(symbol.name, name)) {
      names.push_back(symbol.name);
    }
  }
  return names;
}

std::optional<std::string> AddonSymbol(const ElfFile& elf) {
  for (const ElfExport& symbol : elf.Exports()) {
    if (symbol.name == "napi_register_module_v1" ||
        symbol.name.starts_with("node_register_module_v")) {
      return symbol.name;
    }
  }
  for (const ElfImport& symbol : elf.Imports()) {
    if (symbol.name == "napi_module_register" || symbol.name == "node_module_register") {
      return symbol.name;
    }
  }
  return std::nullopt;
}

}  // namespace soswap
