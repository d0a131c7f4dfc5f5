#include "core/call/slot_table.h"

#include <utility>

namespace soswap {

SlotTable::SlotTable(std::string path) : path_(std::move(path)) {}

Slot* SlotTable::Add(std::string symbol, Signature signature, bool optional, bool is_called) {
  void* address = image_ != nullptr ? image_->Address(symbol) : nullptr;
  slots_.push_back(std::make_unique<Slot>(Slot{
      {address, &calls_}, this, std::move(symbol), std::move(signature), optional, is_called}));
  if (supervising_) Supervise();
  names_.reset();
  return slots_.back().get();
}

std::shared_ptr<const RequestedSymbols> SlotTable::Names() {
  if (names_ == nullptr) {
    auto names = std::make_shared<RequestedSymbols>();
    for (const auto& slot : slots_) {
      names->names.push_back(slot->symbol);
      names->optional.push_back(slot->optional);
    }
    names_ = std::move(names);
  }
  return names_;
}

void SlotTable::Find(const Image& image, SlotAddresses& into) const {
  into.addresses.reserve(slots_.size());
  const std::vector<void*>& found = image.found();  // for the slots that were there then
  // By index: to find an indirect function its resolver runs, which may lead to Add().
  for (size_t index = into.addresses.size(); index < slots_.size(); ++index) {
    const Slot& slot = *slots_[index];
    void* address = index < found.size() ? found[index] : image.Address(slot.symbol);
    if (address == nullptr) (slot.optional ? into.absent : into.missing).push_back(slot.symbol);
    into.addresses.push_back(address);
  }
}

void SlotTable::Commit(std::shared_ptr<Image> image, const SlotAddresses& found) noexcept {
  for (size_t index = 0; index < slots_.size(); ++index) {
    slots_[index]->address = found.addresses[index];
    slots_[index]->supervised = nullptr;
  }
  supervising_ = false;
  image_ = std::move(image);
  calls_ = &image_->calls();
  state_ = State::kLoaded;
  ++*changes_;
}

void SlotTable::Supervise() noexcept {
  supervising_ = true;
  for (const auto& slot : slots_) {
    if (slot->is_called && slot->supervised == nullptr) {
      slot->supervised = std::exchange(slot->address, nullptr);
    }
  }
}

void SlotTable::EndSupervision() noexcept {
  supervising_ = false;
  for (const auto& slot : slots_) {
    if (slot->supervised != nullptr) slot->address = std::exchange(slot->supervised, nullptr);
  }
}

void SlotTable::Detach(State state) noexcept {
  EndSupervision();
  for (const auto& slot : slots_) slot->address = nullptr;
  calls_ = &calls_without_image_;
  image_.reset();
  state_ = state;
  ++*changes_;
}

}  // namespace soswap
