#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/call/slot_table.h"
#include "core/image/image_request.h"

namespace soswap {

// What the slots of a table are to run instead of what they run now.
struct ExchangePlan {
  std::shared_ptr<Image> previous;  // what runs; null for the first image
  bool close_previous = false;      // before the next image is opened; no call may be in flight
  bool force = false;               // close it even if its code may still run
  std::shared_ptr<Image> next;      // opened before; null: `to_open` says how to
  std::optional<ImageRequest> to_open;
  // What the next image begins with where no image runs; null: nothing.
  std::shared_ptr<const HandedOver> given = nullptr;
};

// Why something failed. Not a std::exception_ptr, which needs a newer C++ library.
struct Failure {
  std::shared_ptr<const Error> error;
  const char* other = nullptr;  // where there is no Error: no memory, say

  bool happened() const noexcept { return error != nullptr || other != nullptr; }
};

// What an exchange did.
struct ExchangeResult {
  enum class Running {
    kNext,
    kPrevious,  // nothing changed
    kRestored,  // the previous image was closed and loaded again
    kNothing,   // it could not be loaded again
  };

  Running running = Running::kPrevious;
  std::shared_ptr<Image> image;  // the next one or the restored one, if that runs
  // Why the previous image is still mapped after it was closed; nothing if it was not closed.
  std::optional<std::vector<RetainReason>> closed;
  SlotAddresses found;               // in the next image
  Failure failure;                   // why the next image was not opened, or does not run
  std::shared_ptr<Image> left_over;  // the next image, given up but still mapped
  bool state_kept = false;           // the restored image was never unmapped
  Failure restore_failure;
  std::shared_ptr<const HandedOver> unclaimed;  // what was saved, where nothing runs

  // Whether the next image runs with all symbols, and the previous one is gone if it was closed.
  bool IsPlain() const noexcept {
    return running == Running::kNext && found.absent.empty() && (!closed || closed->empty());
  }
};

// What one table has in an exchange.
struct ExchangePart {
  SlotTable& slots;
  ExchangePlan plan;
  ExchangeResult result = {};
  bool detached = false;  // the slots are, and the previous image is closed or about to be
  std::shared_ptr<InspectedSnapshot> copy = nullptr;  // that the previous image was loaded from
  std::shared_ptr<const HandedOver> saved = nullptr;  // what the next image begins with
};

// Has the previous images save what they hand over, closes them where that is wanted, the last
// first, opens the next ones, loads them with what was saved, and points all slots at them. A next
// image that is loaded already (see Life) has what it needs. If any of that fails, all slots point
// at the previous images again, loaded anew if need be. A library comes after those that it needs.
// Between close and commit it runs no JavaScript but what constructors and destructors of the
// libraries call. On the thread of the tables.
void ExchangeImages(std::span<ExchangePart> parts) noexcept;

}  // namespace soswap
