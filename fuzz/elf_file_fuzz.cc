// Parses the input, reads all facts and symbols of an accepted file, and edits a
// copy of it.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/elf/edit.h"
#include "core/elf/file.h"
#include "core/elf/needed_name.h"

namespace {

// Keeps the compiler from leaving out what nobody looks at.
volatile std::size_t sink = 0;

void Count(std::size_t amount) { sink = sink + amount; }

void TouchFacts(const soswap::ElfFile& file) {
  const soswap::ElfFacts& facts = file.facts();
  Count(facts.machine.size() + facts.soname.value_or("").size() +
        facts.build_id.value_or("").size() + facts.runpath.value_or("").size() +
        facts.rpath.value_or("").size() + facts.memory_size);
  for (const std::string& name : facts.needed) Count(name.size());
}

void TouchSymbols(const soswap::ElfFile& file) {
  for (const auto& symbol : file.Exports()) {
    Count(symbol.version.size() + (file.Defines(symbol.name) ? 1 : 0));
    Count(file.symbols().Find(symbol.name, symbol.version).value_or(0));
  }
  for (const auto& symbol : file.Imports()) {
    Count(symbol.version.size() + (file.Defines(symbol.name) ? 1 : 0));
  }
  for (const std::string& name : file.UniqueSymbols()) Count(name.size());
  Count(file.Defines("") ? 1 : 0);
}

void Edit(std::span<const std::byte> bytes) {
  std::vector<std::byte> copy(bytes.begin(), bytes.end());
  const auto edited = soswap::ElfFile::Parse(copy, "copy");
  soswap::DemoteUniqueSymbols(edited, copy);
  if (!edited.UniqueSymbols().empty()) __builtin_trap();
  soswap::ClearNoDelete(edited, copy);
  soswap::HideSoname(edited, copy);
  try {
    for (const std::string& name : edited.facts().needed) {
      soswap::RenameNeeded(edited, copy, name, std::string(name.size(), 'x'));
    }
    soswap::ShortenNeededFromOrigin(edited, copy);
    soswap::BindSymbolically(edited, copy);
  } catch (const soswap::Error& error) {
    Count(error.subject().size());
  }
  // Tables may overlap, so that an edited file need not be one that is accepted.
  try {
    TouchSymbols(soswap::ElfFile::Parse(copy, "copy"));
  } catch (const soswap::Error& error) {
    Count(error.subject().size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const auto file = soswap::ElfFile::Parse(bytes, "input");
    TouchFacts(file);
    TouchSymbols(file);
    Edit(bytes);
  } catch (const soswap::Error& error) {
    Count(error.subject().size());
  }
  return 0;
}
