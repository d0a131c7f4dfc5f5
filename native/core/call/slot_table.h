#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/call/call_target.h"
#include "core/call/signature.h"
#include "core/image/image.h"
#include "core/resolve/inspected_snapshot.h"

namespace soswap {

class SlotTable;

// What one bound function points at, or code that calls a symbol by its address. Stays at one
// address for as long as its table lives, so that a call costs one load to find the current code.
struct Slot : CallTarget {  // the table's state says why there is nothing to call
  SlotTable* table;
  std::string symbol;
  Signature signature;
  bool optional;
  bool is_called;  // by a bound function
  // The address of a slot under supervision, whose `address` is null, so that a call takes the way
  // of those that cannot be made.
  void* supervised = nullptr;
};

// Where the slots of a table point in another image.
struct SlotAddresses {
  std::vector<void*> addresses;      // of the slots, in their order; null for absent symbols
  std::vector<std::string> absent;   // optional symbols that the image lacks
  std::vector<std::string> missing;  // other symbols that it lacks
};

// All slots of one handle and the image they point into. Used on one JavaScript thread only.
class SlotTable {
 public:
  // kUnloaded: there is no image yet, or a swap has closed the old one and not opened the next.
  enum class State { kUnloaded, kLoaded, kClosed };

  explicit SlotTable(std::string path);
  SlotTable(const SlotTable&) = delete;
  SlotTable& operator=(const SlotTable&) = delete;

  // Adds a slot that points into the current image. Its address is null if the symbol is absent.
  Slot* Add(std::string symbol, Signature signature, bool optional, bool is_called = true);

  // The slot that was added as this one, from 0 on; null if there is none.
  const Slot* At(size_t index) const noexcept {
    return index < slots_.size() ? slots_[index].get() : nullptr;
  }
  size_t size() const noexcept { return slots_.size(); }

  // The symbols of all slots, in their order. Returns one list until a slot is added.
  std::shared_ptr<const RequestedSymbols> Names();

  // Looks the symbols of the slots up in `image`, those that `into` has no addresses for.
  void Find(const Image& image, SlotAddresses& into) const;

  // Whether `found` has an address for every slot.
  bool IsComplete(const SlotAddresses& found) const noexcept {
    return found.addresses.size() == slots_.size();
  }

  // Points all slots at `image`. `found` is complete and lacks no symbol that is not optional.
  void Commit(std::shared_ptr<Image> image, const SlotAddresses& found) noexcept;

  // Makes calls of bound functions take another way, until EndSupervision(), Commit() or Detach().
  void Supervise() noexcept;
  void EndSupervision() noexcept;

  // Points all slots at nothing and gives the image up.
  void Detach(State state) noexcept;

  State state() const noexcept { return state_; }
  const std::string& path() const noexcept { return path_; }
  const std::shared_ptr<Image>& image() const noexcept { return image_; }

  // The calls in flight in the current image.
  CallCount& calls() noexcept { return *calls_; }

  // How often the slots were pointed elsewhere. JavaScript reads it before each call by an address
  // that it keeps.
  const std::shared_ptr<uint32_t>& changes() const noexcept { return changes_; }

 protected:
  ~SlotTable() = default;

 private:
  std::string path_;
  State state_ = State::kUnloaded;
  bool supervising_ = false;
  std::shared_ptr<Image> image_;
  std::vector<std::unique_ptr<Slot>> slots_;  // none is ever removed
  std::shared_ptr<const RequestedSymbols> names_;
  CallCount calls_without_image_;  // of functions at a bare address
  CallCount* calls_ = &calls_without_image_;
  std::shared_ptr<uint32_t> changes_ = std::make_shared<uint32_t>(0);
};

}  // namespace soswap
