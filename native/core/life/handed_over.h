#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace soswap {

// The bytes that a library saved, or that the program gave.
struct State {
  std::vector<std::byte> bytes;
  uint32_t version = 0;
};

inline constexpr size_t kLargestState = size_t{1} << 30;

// The value of a variable that is carried over.
struct KeptValue {
  std::string name;
  uint64_t layout = 0;
  std::vector<std::byte> bytes;
};

// What one image leaves for the next one.
struct HandedOver {
  std::optional<State> state;
  std::vector<KeptValue> kept;
};

}  // namespace soswap
