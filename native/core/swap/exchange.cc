#include "core/swap/exchange.h"

#include <algorithm>
#include <memory>
#include <new>
#include <utility>

#include "core/base/error.h"
#include "core/image/loaded_images.h"

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

void Save(ExchangePart& part) {
  const ExchangePlan& plan = part.plan;
  part.saved = plan.given;
  if (plan.previous == nullptr || (plan.next != nullptr && plan.next->life().loaded())) return;
  if (plan.previous->life().any()) {
    part.saved = std::make_shared<const HandedOver>(plan.previous->life().Save());
  }
}

void Load(const ExchangePart& part, Image& image) {
  if (image.life().any()) image.life().Load(part.saved == nullptr ? HandedOver() : *part.saved);
}

void ClosePrevious(ExchangePart& part) {
  const ExchangePlan& plan = part.plan;
  if (!plan.close_previous) return;
  if (!plan.force) plan.previous->life().Unload();
  part.copy = plan.previous->inspected();
  part.detached = true;
  part.slots.Detach(SlotTable::State::kUnloaded);
  part.result.closed = plan.previous->Close(plan.force);
  // The loader would bind the next images to an old image that only this one needed.
  SweepWaiting(true);
  if (!part.result.closed->empty() && plan.to_open &&
      plan.to_open->mapping == ImageRequest::Mapping::kFile) {
    // lib/internal/errors.ts has the text for people, with the reasons.
    throw Error(Fault::kStillLoaded, "swap", plan.to_open->origin.path,
                "dlopen(3) would return the old image");
  }
}

// The image that a part of the exchange has opened from this copy; null if none has.
std::shared_ptr<Image> OpenedFrom(const InspectedSnapshot& copy, std::span<ExchangePart> parts) {
  const auto found = std::find_if(parts.begin(), parts.end(), [&](const ExchangePart& part) {
    return part.plan.to_open && part.plan.to_open->inspected.get() == &copy;
  });
  return found == parts.end() ? nullptr : found->result.image;
}

// Those that a part opens before this one had no name yet when the exchange began.
void NameProviders(ImageRequest& request, std::span<ExchangePart> parts) {
  for (size_t index = 0; index < request.providers.size(); ++index) {
    if (!request.providers[index].empty()) continue;
    const auto image = OpenedFrom(*request.inspected->provided[index].by, parts);
    if (image != nullptr) request.providers[index] = image->loader_name();
  }
}

void OpenNext(ExchangePart& part, std::span<ExchangePart> parts) {
  ExchangePlan& plan = part.plan;
  if (plan.next == nullptr) NameProviders(*plan.to_open, parts);
  part.result.image = plan.next == nullptr ? plan.to_open->Open() : plan.next;
  Load(part, *part.result.image);
}

void FindSymbols(ExchangePart& part) { part.slots.Find(*part.result.image, part.result.found); }

bool IsFound(const ExchangePart& part) { return part.slots.IsComplete(part.result.found); }

// Does it with each part until one fails or lacks a symbol, as its result then says.
template <typename Iterator, typename Body>
bool ForAll(Iterator first, Iterator last, Body body) noexcept {
  return std::all_of(first, last, [&](ExchangePart& part) {
    part.result.failure = FailureOf([&] { body(part); });
    return !part.result.failure.happened() && part.result.found.missing.empty();
  });
}

// Returns whether all slots point at the next images. If not, none does.
bool Advance(std::span<ExchangePart> parts) noexcept {
  if (!ForAll(parts.begin(), parts.end(), Save)) return false;
  if (!ForAll(parts.rbegin(), parts.rend(), ClosePrevious)) return false;
  const auto open = [&](ExchangePart& part) { OpenNext(part, parts); };
  if (!ForAll(parts.begin(), parts.end(), open)) return false;
  // To find an indirect function its resolver runs, which may lead to more slots of any part.
  while (!std::all_of(parts.begin(), parts.end(), IsFound)) {
    if (!ForAll(parts.begin(), parts.end(), FindSymbols)) return false;
  }
  for (ExchangePart& part : parts) {
    part.slots.Commit(part.result.image, part.result.found);
    part.result.running = Running::kNext;
  }
  return true;
}

// Gives an image up that was opened for the exchange and never ran. Remembers it if it is still
// mapped.
void GiveUp(ExchangePart& part) noexcept {
  std::shared_ptr<Image> image = std::exchange(part.result.image, nullptr);
  if (image == nullptr || part.plan.next != nullptr) return;
  bool gone = false;
  // If this throws, the image is closed, or its destructor leaves it mapped; only the reason is
  // lost.
  FailureOf([&] {
    if (part.plan.to_open->origin.may_unmap) {
      gone = image->Close().empty();
    } else {
      image->Keep({{"kept", "a swap gave it up, and unmapping it could crash the process"}});
    }
  });
  if (!gone) part.result.left_over = std::move(image);
}

// The images that the previous one was bound to; of those that run again, the images that do.
std::vector<std::string> ProvidersOf(const Image& previous, std::span<ExchangePart> parts) {
  std::vector<std::string> providers = previous.providers();
  for (std::string& name : providers) {
    const auto found = std::find_if(parts.begin(), parts.end(), [&](const ExchangePart& part) {
      return part.result.running == Running::kRestored && part.plan.previous->loader_name() == name;
    });
    if (found != parts.end()) name = found->result.image->loader_name();
  }
  return providers;
}

// Points the slots at the previous image again, after it was closed.
Running Restore(ExchangePart& part, std::span<ExchangePart> parts) noexcept {
  ExchangeResult& result = part.result;
  result.restore_failure = FailureOf([&] {
    result.state_kept = result.closed && !result.closed->empty();
    const Image& previous = *part.plan.previous;
    auto image =
        Image::OpenAgain(previous, part.copy, ProvidersOf(previous, parts), result.state_kept);
    Load(part, *image);
    SlotAddresses found;
    while (!part.slots.IsComplete(found)) part.slots.Find(*image, found);
    if (!found.missing.empty()) {
      throw Error(Fault::kLoader, "load", part.slots.path(), "symbols that it had are absent");
    }
    part.slots.Commit(image, found);
    result.image = std::move(image);
  });
  if (result.image != nullptr) return Running::kRestored;
  result.unclaimed = part.saved;
  return Running::kNothing;
}

}  // namespace

void ExchangeImages(std::span<ExchangePart> parts) noexcept {
  if (Advance(parts)) return;
  std::for_each(parts.rbegin(), parts.rend(), GiveUp);
  for (ExchangePart& part : parts) {
    if (part.detached) {
      part.result.running = Restore(part, parts);
    } else if (part.plan.previous == nullptr) {
      part.result.running = Running::kNothing;
      part.result.unclaimed = part.saved;
    }
  }
}

}  // namespace soswap
