#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/elf/file.h"
#include "small_libraries.h"

namespace soswap::test {

// The bytes of a shared object, to be read and damaged.
class ElfBytes final {
 public:
  explicit ElfBytes(const std::string& path) : ElfBytes(ReadText(path), 0) {}

  std::span<const std::byte> span() const { return bytes_; }
  std::span<std::byte> editable() { return bytes_; }
  std::size_t size() const { return bytes_.size(); }

  template <typename T>
  T Get(std::size_t offset) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(T)) {
      throw std::out_of_range("no such offset");
    }
    T value{};
    std::memcpy(&value, bytes_.data() + offset, sizeof(T));
    return value;
  }

  template <typename T>
  void Set(std::size_t offset, const T& value) {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(T)) {
      throw std::out_of_range("no such offset");
    }
    std::memcpy(bytes_.data() + offset, &value, sizeof(T));
  }

  template <typename T, typename Change>
  void Edit(std::size_t offset, Change change) {
    T value = Get<T>(offset);
    change(value);
    Set(offset, value);
  }

  Elf64_Ehdr header() const { return Get<Elf64_Ehdr>(0); }

  // The offset of the program header of this type, the last of several when `last`.
  std::size_t HeaderOf(std::uint32_t type, bool last = false) const {
    std::optional<std::size_t> found;
    for (std::size_t i = 0; i < header().e_phnum && (last || !found); ++i) {
      const std::size_t offset = header().e_phoff + i * sizeof(Elf64_Phdr);
      if (Get<Elf64_Phdr>(offset).p_type == type) found = offset;
    }
    if (!found) throw std::out_of_range("no such program header");
    return *found;
  }

  std::size_t OffsetOf(std::uint64_t address) const {
    for (std::size_t i = 0; i < header().e_phnum; ++i) {
      const auto segment = Get<Elf64_Phdr>(header().e_phoff + i * sizeof(Elf64_Phdr));
      if (segment.p_type == PT_LOAD && address >= segment.p_vaddr &&
          address - segment.p_vaddr < segment.p_filesz) {
        return segment.p_offset + (address - segment.p_vaddr);
      }
    }
    throw std::out_of_range("no such address");
  }

  // The offset of the entry of the dynamic section with this tag.
  std::size_t DynamicOf(std::int64_t tag) const {
    std::size_t offset = Get<Elf64_Phdr>(HeaderOf(PT_DYNAMIC)).p_offset;
    while (Get<Elf64_Dyn>(offset).d_tag != tag) {
      if (Get<Elf64_Dyn>(offset).d_tag == DT_NULL) throw std::out_of_range("no such tag");
      offset += sizeof(Elf64_Dyn);
    }
    return offset;
  }

  std::uint64_t Dynamic(std::int64_t tag) const {
    return Get<Elf64_Dyn>(DynamicOf(tag)).d_un.d_val;
  }

  void SetDynamic(std::int64_t tag, std::uint64_t value) {
    Edit<Elf64_Dyn>(DynamicOf(tag), [&](Elf64_Dyn& entry) { entry.d_un.d_val = value; });
  }

  void RemoveDynamic(std::int64_t tag) {
    Edit<Elf64_Dyn>(DynamicOf(tag), [](Elf64_Dyn& entry) { entry.d_tag = DT_DEBUG; });
  }

  // The offset of the table that this tag is the address of.
  std::size_t TableOf(std::int64_t tag) const { return OffsetOf(Dynamic(tag)); }

  void Save(const std::string& path) const {
    WriteText(path, std::string(reinterpret_cast<const char*>(bytes_.data()), bytes_.size()));
  }

 private:
  ElfBytes(const std::string& text, int)
      : bytes_(reinterpret_cast<const std::byte*>(text.data()),
               reinterpret_cast<const std::byte*>(text.data()) + text.size()) {}

  std::vector<std::byte> bytes_;
};

// What Parse has against these bytes, if anything.
struct Verdict {
  std::optional<Fault> fault;
  std::string reason;
};

inline Verdict Judge(std::span<const std::byte> bytes) {
  try {
    ElfFile::Parse(bytes, "library.so");
    return {};
  } catch (const Error& error) {
    return {error.fault(), error.what()};
  }
}

inline Verdict Judge(const ElfBytes& bytes) { return Judge(bytes.span()); }

}  // namespace soswap::test
