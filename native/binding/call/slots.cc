#include "binding/call/slots.h"

#include "binding/call/nonblocking_call.h"
#include "binding/js_error.h"

namespace soswap {

SlotTable::SlotTable(std::string path) : path_(std::move(path)) {}

SlotTable::~SlotTable() = default;

Slot* SlotTable::Add(std::string symbol, Signature signature, bool optional) {
  void* address = image_ != nullptr ? image_->Address(symbol) : nullptr;
  slots_.push_back(std::make_unique<Slot>(
      Slot{this, std::move(symbol), std::move(signature), optional, address}));
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

std::vector<std::string> SlotTable::Commit(std::shared_ptr<Image> image,
                                           std::vector<std::string>& absent) {
  std::vector<void*> addresses;
  addresses.reserve(slots_.size());
  std::vector<std::string> missing;
  const std::vector<void*>& found = image->found();  // for the slots that were there then
  for (const auto& slot : slots_) {
    const size_t index = addresses.size();
    void* address = index < found.size() ? found[index] : image->Address(slot->symbol);
    if (address == nullptr) (slot->optional ? absent : missing).push_back(slot->symbol);
    addresses.push_back(address);
  }
  if (!missing.empty()) return missing;

  for (size_t index = 0; index < slots_.size(); ++index) slots_[index]->address = addresses[index];
  image_ = std::move(image);
  calls_ = &image_->calls();
  state_ = State::kLoaded;
  return missing;
}

void SlotTable::Detach(State state) noexcept {
  for (const auto& slot : slots_) slot->address = nullptr;
  calls_ = &calls_without_image_;
  image_.reset();
  state_ = state;
}

void SlotTable::Release() {
  held_ = false;
  for (auto& call : std::exchange(waiting_, {})) NonblockingCall::Begin(std::move(call));
}

void SlotTable::Begin(std::unique_ptr<NonblockingCall> call) {
  if (held_) {
    waiting_.push_back(std::move(call));
  } else {
    NonblockingCall::Begin(std::move(call));
  }
}

napi_value SlotTable::NextSettled(napi_env env) {
  napi_deferred deferred;
  napi_value promise;
  if (napi_create_promise(env, &deferred, &promise) != napi_ok) return nullptr;
  settled_.push_back(deferred);
  return promise;
}

void SlotTable::TellSettled(napi_env env) {
  napi_value undefined;
  napi_get_undefined(env, &undefined);
  for (napi_deferred deferred : std::exchange(settled_, {})) {
    napi_resolve_deferred(env, deferred, undefined);
  }
}

void ThrowUnavailable(napi_env env, const Slot& slot) {
  const SlotTable& table = *slot.table;
  const std::string call = "cannot call " + slot.symbol + "(): ";
  switch (table.state()) {
    case SlotTable::State::kClosed:
      ThrowSoError(env, "ERR_SOSWAP_CLOSED",
                   call + "the handle of '" + table.path() + "' is closed", table.path(),
                   slot.symbol);
      return;
    case SlotTable::State::kUnloaded:
      ThrowSoError(env, "ERR_SOSWAP_NOT_LOADED", call + "'" + table.path() + "' has no image now",
                   table.path(), slot.symbol);
      return;
    case SlotTable::State::kLoaded:
      ThrowSoError(env, "ERR_SOSWAP_MISSING_SYMBOL",
                   call + "'" + table.path() + "' no longer has this symbol", table.path(),
                   slot.symbol);
      return;
  }
}

}  // namespace soswap
