#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/elf/file.h"
#include "core/life/handed_over.h"
#include "core/life/host.h"
#include "core/life/kept_variables.h"

namespace soswap {

// The names of the hooks that a library exports, of native/include/soswap.h.
std::vector<std::string> HookNames(const ElfFile& elf);

// Checks that a library with hooks was compiled for this soswap.h. Throws Error, kHostAbi. Any
// thread.
void AssertHostAbi(const ElfFile& elf, const std::string& path);

// The life of one loaded image: its hooks, and what it keeps. A library without any has one in
// which nothing happens. One thread at a time.
class Life final {
 public:
  Life() = default;
  // Finds the hooks of the image that is loaded at `base`, of a library that AssertHostAbi() takes.
  Life(const ElfFile& elf, uintptr_t base, std::string path, uint32_t generation);

  // Whether it has a hook or keeps a variable.
  bool any() const noexcept { return any_; }
  // Whether it was loaded, and not unloaded since.
  bool loaded() const noexcept { return loaded_; }

  std::vector<std::string> KeptNames() const { return variables_.Names(); }

  // What it leaves for the next one: calls soswap_save. Throws Error: kRefusedByLibrary,
  // kStateTooLarge, kKeptVariable, kHookThrew.
  HandedOver Save() const;

  // Sets what it keeps, and calls soswap_load. Nothing if it is loaded. Throws Error:
  // kRefusedByLibrary, kHookThrew; it is not loaded then.
  void Load(const HandedOver& from);

  // Calls soswap_unload. Nothing if it is not loaded. Throws Error: kRefusedByLibrary, kHookThrew;
  // it is still loaded then.
  void Unload();

  // The kept variables that the last Load() found a value for, and those of the image before that
  // start anew.
  const std::vector<std::string>& kept() const noexcept { return kept_; }
  const std::vector<std::string>& reset() const noexcept { return reset_; }

 private:
  using Hook = void (*)(const soswap_host*);

  class Call;

  std::string path_;
  uint32_t generation_ = 0;
  Hook save_ = nullptr;
  Hook load_ = nullptr;
  Hook unload_ = nullptr;
  bool any_ = false;
  bool loaded_ = false;
  KeptVariables variables_;
  std::vector<std::string> kept_;
  std::vector<std::string> reset_;
};

}  // namespace soswap
