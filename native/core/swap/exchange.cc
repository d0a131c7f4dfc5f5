#include "core/swap/exchange.h"

#include <memory>
#include <new>
#include <utility>

#include "core/base/error.h"

namespace soswap {
namespace {

using Running = ExchangeResult::Running;

// Runs `body`. Returns what it throws.
template <typename Body>
Failure FailureOf(Body body) noexcept {
  try {
    try {
      body();
      return {};
    } catch (const Error& error) {
      return {.error = std::make_shared<const Error>(error), .other = nullptr};
    }
  } catch (const std::bad_alloc&) {
    return {.error = nullptr, .other = "there is no memory"};
  } catch (...) {
    return {.error = nullptr, .other = "code of the library threw an exception"};
  }
}

// Returns whether the slots point at the next image. If not, `opened` is the image that was opened
// for it, and `result` says why.
bool Advance(SlotTable& slots, const ExchangePlan& plan, ExchangeResult& result,
             std::shared_ptr<Image>& opened) noexcept {
  result.failure = FailureOf([&] {
    if (plan.close_previous) {
      slots.Detach(SlotTable::State::kUnloaded);
      result.closed = plan.previous->Close(plan.force);
      if (!result.closed->empty() && plan.to_open &&
          plan.to_open->mapping == ImageRequest::Mapping::kFile) {
        // lib/internal/errors.ts has the text for people, with the reasons.
        throw Error(Fault::kStillLoaded, "swap", plan.to_open->origin.path,
                    "dlopen(3) would return the old image");
      }
    }
    if (plan.next == nullptr) opened = plan.to_open->Open();
    const auto& next = plan.next == nullptr ? opened : plan.next;
    result.missing = slots.Commit(next, result.absent);
    if (result.missing.empty()) result.image = next;
  });
  return result.image != nullptr;
}

// Gives an image up that never ran. Remembers it if it is still mapped.
void GiveUp(std::shared_ptr<Image> image, const ImageRequest& request,
            ExchangeResult& result) noexcept {
  bool gone = false;
  // If this throws, the image is closed, or its destructor leaves it mapped; only the reason is
  // lost.
  FailureOf([&] {
    if (request.origin.may_unmap) {
      gone = image->Close().empty();
    } else {
      image->Keep({{"kept", "a swap gave it up, and unmapping it could crash the process"}});
    }
  });
  if (!gone) result.left_over = std::move(image);
}

// Points the slots at the previous image again, after it was closed.
Running Restore(SlotTable& slots, const Image& previous,
                const std::shared_ptr<InspectedSnapshot>& inspected,
                ExchangeResult& result) noexcept {
  result.restore_failure = FailureOf([&] {
    result.state_kept = result.closed && !result.closed->empty();
    auto image = Image::OpenAgain(previous, inspected, result.state_kept);
    std::vector<std::string> absent;
    if (!slots.Commit(image, absent).empty()) {
      throw Error(Fault::kLoader, "load", slots.path(), "symbols that it had are absent");
    }
    result.image = std::move(image);
  });
  return result.image != nullptr ? Running::kRestored : Running::kNothing;
}

}  // namespace

ExchangeResult ExchangeImages(SlotTable& slots, const ExchangePlan& plan) noexcept {
  ExchangeResult result;
  std::shared_ptr<Image> opened;
  const auto inspected = plan.close_previous ? plan.previous->inspected() : nullptr;
  if (Advance(slots, plan, result, opened)) {
    result.running = Running::kNext;
    return result;
  }
  if (opened != nullptr) GiveUp(std::move(opened), *plan.to_open, result);
  if (plan.close_previous) {
    result.running = Restore(slots, *plan.previous, inspected, result);
  } else if (plan.previous == nullptr) {
    result.running = Running::kNothing;
  }
  return result;
}

}  // namespace soswap
