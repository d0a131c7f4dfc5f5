#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/elf/file.h"
#include "core/life/handed_over.h"

namespace soswap {

// The variables of one loaded image that are carried over: SOSWAP_KEEP of native/include/soswap.h.
class KeptVariables final {
 public:
  KeptVariables() = default;
  // Reads the image, which is loaded at `base`.
  KeptVariables(const ElfFile& elf, uintptr_t base, std::string path);

  std::vector<std::string> Names() const;
  bool empty() const noexcept { return variables_.empty(); }

  // Copies their values. Throws Error, kKeptVariable: one of them points into the image, or what
  // the library says of one is not true.
  std::vector<KeptValue> Values() const;

  // Sets those of the same name, size and layout; the names of the values that found none go to
  // `reset`, those of the others to `kept`. Throws Error, kKeptVariable: what the library says of
  // one is not true.
  void Set(const std::vector<KeptValue>& values, std::vector<std::string>& kept,
           std::vector<std::string>& reset) const;

 private:
  struct Variable {
    std::string name;
    void* address = nullptr;
    uint64_t size = 0;
    uint64_t layout = 0;
  };

  void AssertTrue(const char* operation) const;

  std::string path_;
  std::string defect_;
  uintptr_t start_ = 0;
  uintptr_t end_ = 0;
  std::vector<Variable> variables_;
};

}  // namespace soswap
