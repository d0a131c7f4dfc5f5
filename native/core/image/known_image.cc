#include "core/image/known_image.h"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <utility>

#include "core/base/loader_name.h"
#include "core/resolve/search_path.h"

namespace soswap {
namespace {

// An entry is never freed, but used again when its image is gone. As the number of a loader name
// never comes back, a reader that finds it twice has read what belongs to it in between.
struct Entry {
  std::atomic<uint64_t> number{0};  // 0: free
  std::atomic<const ImageIdentity*> identity{nullptr};
  std::atomic<bool> opened_itself{false};
  Entry* next = nullptr;
  link_map view{};  // locked
};

std::atomic<Entry*> entries{nullptr};

// Of those that write. Nothing but memory is asked for under it.
std::mutex& WriteMutex() {
  static auto* mutex = new std::mutex;  // never destroyed: threads may go on at exit
  return *mutex;
}

const ImageIdentity* Interned(const ImageIdentity& identity) {
  static auto* all = new std::set<ImageIdentity>;
  return &*all->insert(identity).first;
}

Entry* FindEntry(const char* loader_name) noexcept {
  const uint64_t number = loader_name == nullptr ? 0 : NumberOfLoaderName(loader_name);
  if (number == 0) return nullptr;
  for (Entry* entry = entries.load(std::memory_order_acquire); entry != nullptr;
       entry = entry->next) {
    if (entry->number.load(std::memory_order_acquire) == number) return entry;
  }
  return nullptr;
}

}  // namespace

ImageIdentity ImageIdentity::Of(const std::string& path, const ElfFacts& facts) {
  return {path, facts.soname.value_or(""), std::string(SearchPathOf(facts)),
          !facts.runpath.has_value()};
}

KnownImage::KnownImage(const std::string& loader_name, const ImageIdentity& identity) {
  const uint64_t number = NumberOfLoaderName(loader_name);
  if (number == 0) return;
  const std::lock_guard lock(WriteMutex());
  const ImageIdentity* interned = Interned(identity);
  Entry* entry = entries.load(std::memory_order_relaxed);
  while (entry != nullptr && entry->number.load(std::memory_order_relaxed) != 0) {
    entry = entry->next;
  }
  const bool is_new = entry == nullptr;
  if (is_new) {
    entry = new Entry;
    entry->next = entries.load(std::memory_order_relaxed);
  }
  entry->identity.store(interned, std::memory_order_release);
  entry->opened_itself.store(false, std::memory_order_relaxed);
  entry->number.store(number, std::memory_order_release);
  if (is_new) entries.store(entry, std::memory_order_release);
  entry_ = entry;
}

KnownImage::KnownImage(KnownImage&& other) noexcept
    : entry_(std::exchange(other.entry_, nullptr)) {}

KnownImage& KnownImage::operator=(KnownImage&& other) noexcept {
  std::swap(entry_, other.entry_);
  return *this;
}

KnownImage::~KnownImage() {
  if (entry_ == nullptr) return;
  const std::lock_guard lock(WriteMutex());
  static_cast<Entry*>(entry_)->number.store(0, std::memory_order_release);
}

KnownImage KnownImage::As(const std::string& loader_name) && {
  if (entry_ == nullptr) return {};
  const auto* entry = static_cast<const Entry*>(entry_);
  const bool is_same =
      entry->number.load(std::memory_order_relaxed) == NumberOfLoaderName(loader_name);
  if (is_same) return std::move(*this);
  return {loader_name, *entry->identity.load(std::memory_order_relaxed)};
}

const ImageIdentity* FindKnownImage(const char* loader_name) noexcept {
  for (;;) {
    const Entry* entry = FindEntry(loader_name);
    if (entry == nullptr) return nullptr;
    const uint64_t number = entry->number.load(std::memory_order_acquire);
    const ImageIdentity* identity = entry->identity.load(std::memory_order_acquire);
    if (number == NumberOfLoaderName(loader_name) &&
        entry->number.load(std::memory_order_acquire) == number) {
      return identity;
    }
  }
}

std::string PathOfObject(const std::string& loader_name) {
  const ImageIdentity* image = FindKnownImage(loader_name.c_str());
  return image != nullptr ? image->path : loader_name;
}

link_map* AsOfFile(link_map* map) noexcept {
  Entry* entry = map == nullptr ? nullptr : FindEntry(map->l_name);
  if (entry == nullptr) return map;
  const std::lock_guard lock(WriteMutex());
  // Whoever has the map has the image open, so the entry is not given to another meanwhile.
  entry->view = *map;
  entry->view.l_name =
      const_cast<char*>(entry->identity.load(std::memory_order_relaxed)->path.c_str());
  return &entry->view;
}

void MarkOpenedItself(const char* loader_name) noexcept {
  if (Entry* entry = FindEntry(loader_name)) entry->opened_itself = true;
}

bool HasOpenedItself(const char* loader_name) noexcept {
  const Entry* entry = FindEntry(loader_name);
  return entry != nullptr && entry->opened_itself;
}

}  // namespace soswap
