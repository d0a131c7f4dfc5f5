#include "core/loader/provided_name.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <mutex>
#include <unordered_set>
#include <utility>

#include "core/base/error.h"
#include "core/loader/loaded_objects.h"

namespace soswap {
namespace {

constexpr unsigned kFirstCharacters = 31;  // U+0001 to U+001F
constexpr std::string_view kCharacters =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

// Never destroyed: threads may still run while the process exits.
struct Names {
  std::mutex mutex;
  std::unordered_set<std::string> taken;
  // Where the search for the next one begins. Begins itself at another place in every copy of this
  // addon in a process, where such copies do not know of each other.
  std::uint64_t next = reinterpret_cast<std::uintptr_t>(this) >> 4;
};

Names& TheNames() {
  static auto* names = new Names;
  return *names;
}

// How many names there are of this length, at most what 64 bits can count.
std::uint64_t CountOf(std::size_t length) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t count = kFirstCharacters;
  for (std::size_t i = 1; i < length; ++i) {
    if (count > kMost / kCharacters.size()) return kMost;
    count *= kCharacters.size();
  }
  return count;
}

std::string Spell(std::uint64_t number, std::size_t length) {
  std::string text(1, static_cast<char>(1 + number % kFirstCharacters));
  number /= kFirstCharacters;
  for (; text.size() < length; number /= kCharacters.size()) {
    text += kCharacters[number % kCharacters.size()];
  }
  return text;
}

}  // namespace

ProvidedName::ProvidedName(std::size_t length, const std::string& subject) {
  const LoadedObjects objects = LoadedObjects::List();
  const std::uint64_t count = CountOf(length);
  Names& names = TheNames();
  const std::lock_guard lock(names.mutex);
  for (std::uint64_t tried = 0; tried < count; ++tried) {
    std::string text = Spell(names.next++, length);
    if (objects.Find(text) != nullptr || !names.taken.insert(text).second) continue;
    text_ = std::move(text);
    return;
  }
  throw Error(Fault::kSystem, "bind", subject,
              "all names as short as that of its dependency are in use; give that a longer one "
              "(-Wl,-soname,…)");
}

ProvidedName::~ProvidedName() {
  const std::lock_guard lock(TheNames().mutex);
  TheNames().taken.erase(text_);
}

bool IsProvidedName(std::string_view name) noexcept {
  return !name.empty() && name.front() >= 1 && name.front() <= static_cast<int>(kFirstCharacters);
}

}  // namespace soswap
