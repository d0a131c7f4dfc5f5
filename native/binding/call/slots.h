#pragma once

#include <node_api.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "binding/call/signature.h"
#include "core/image/image.h"
#include "core/resolve/inspected_snapshot.h"

namespace soswap {

class NonblockingCall;
class SlotTable;

// What one bound function points at. Stays at one address for as long as its table lives, so that a
// call costs one load to find the current code.
struct Slot {
  SlotTable* table;
  std::string symbol;
  Signature signature;
  bool optional;
  void* address = nullptr;  // null: there is nothing to call, ThrowUnavailable() says why
};

// All slots of one SoHandle and the image they point into. Used on one JavaScript thread only.
class SlotTable final : public std::enable_shared_from_this<SlotTable> {
 public:
  // kUnloaded: there is no image yet, or a swap has closed the old one and not opened the next.
  enum class State { kUnloaded, kLoaded, kClosed };

  explicit SlotTable(std::string path);
  SlotTable(const SlotTable&) = delete;
  SlotTable& operator=(const SlotTable&) = delete;
  ~SlotTable();

  // Adds a slot that points into the current image. Its address is null if the symbol is absent.
  Slot* Add(std::string symbol, Signature signature, bool optional);

  // The symbols of all slots, in their order. Returns one list until a slot is added.
  std::shared_ptr<const RequestedSymbols> Names();

  // Points all slots at `image`, or changes nothing and returns the names that it lacks and that
  // are not optional. The names of absent optional symbols go into `absent`.
  std::vector<std::string> Commit(std::shared_ptr<Image> image, std::vector<std::string>& absent);

  // Points all slots at nothing and gives the image up.
  void Detach(State state) noexcept;

  State state() const noexcept { return state_; }
  const std::string& path() const noexcept { return path_; }
  const std::shared_ptr<Image>& image() const noexcept { return image_; }

  // The calls in flight in the current image.
  CallCount& calls() noexcept { return *calls_; }

  // From Hold() to Release() nonblocking calls are taken but not begun, so that a swap can wait for
  // those in flight and nothing has to be refused meanwhile. Held calls are not in flight.
  // Release() begins them with what is loaded then, or rejects them if nothing is.
  bool held() const noexcept { return held_; }
  void Hold() noexcept { held_ = true; }
  void Release();

  // Begins the call, or keeps it until Release().
  void Begin(std::unique_ptr<NonblockingCall> call);

  // A promise that is resolved when a nonblocking call of any image has settled.
  napi_value NextSettled(napi_env env);
  void TellSettled(napi_env env);

 private:
  std::string path_;
  State state_ = State::kUnloaded;
  std::shared_ptr<Image> image_;
  std::vector<std::unique_ptr<Slot>> slots_;  // none is ever removed
  std::shared_ptr<const RequestedSymbols> names_;
  CallCount calls_without_image_;  // of functions at a bare address
  CallCount* calls_ = &calls_without_image_;
  bool held_ = false;
  std::vector<std::unique_ptr<NonblockingCall>> waiting_;
  std::vector<napi_deferred> settled_;
};

// Throws, into JavaScript, why `slot` cannot be called now.
void ThrowUnavailable(napi_env env, const Slot& slot);

}  // namespace soswap
