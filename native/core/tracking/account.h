#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/tracking/thunks.h"

namespace soswap {

// What an image took by functions that it imports, and has not given back.
struct LeftBehind {
  uint64_t allocations = 0;
  uint64_t bytes = 0;
  uint64_t descriptors = 0;
  uint64_t mappings = 0;
  uint64_t mapped_bytes = 0;
};

// Counts what the images of one private copy, which follow one another, take and give back: memory,
// descriptors and mappings. It sees what the image itself asks for: what another library takes for
// it, or frees of it, is not seen. Never freed, but used again. Any thread, unless said.
class Account final {
 public:
  // Null where the system gives no memory for code.
  static Account* New();

  Account(const Account&) = delete;
  Account& operator=(const Account&) = delete;
  ~Account() = delete;

  // The function of soswap that an import of this name is bound to; 0 if it is not counted.
  uintptr_t AddressOf(std::string_view name) const;

  // Before an image is loaded, under this name.
  void Begin(const std::string& loader_name);

  struct Sums;
  const std::shared_ptr<Sums>& sums() const noexcept { return sums_; }

 private:
  explicit Account(const Thunks::Set& thunks) : thunks_(thunks) {}

  Thunks::Set thunks_;
  std::shared_ptr<Sums> sums_;  // of the image
};

// What the image of this name has not given back; nothing if it is not counted. `forget`: nobody
// asks again.
std::optional<LeftBehind> LeftBehindBy(const std::string& loader_name, bool forget);

}  // namespace soswap
