#include "core/image/loaded_images.h"

#include <algorithm>
#include <csignal>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "core/base/this_thread.h"
#include "core/image/needed_by.h"
#include "core/tracking/thread_record.h"

namespace soswap {
namespace {

struct List {
  std::mutex mutex;
  std::vector<std::shared_ptr<LoadedImage>> images;
};

// Never destroyed: images are closed by finalizers that may run after the destructors of statics.
List& TheList() {
  static auto* list = new List;
  return *list;
}

// A given up image of which code may still run. Its handle is open, so the loader keeps it.
struct Waiting {
  std::shared_ptr<LoadedImage> image;
  LoaderHandle handle;
  pid_t thread = 0;  // 0: any
};

struct WaitingList {
  std::mutex mutex;
  std::vector<Waiting> images;
};

WaitingList& TheWaiting() {
  static auto* list = new WaitingList;
  return *list;
}

// sigabbrev_np(3) is newer than the oldest glibc.
const char* SignalName(int number) {
  switch (number) {
    case SIGHUP:
      return "HUP";
    case SIGINT:
      return "INT";
    case SIGQUIT:
      return "QUIT";
    case SIGILL:
      return "ILL";
    case SIGTRAP:
      return "TRAP";
    case SIGABRT:
      return "ABRT";
    case SIGBUS:
      return "BUS";
    case SIGFPE:
      return "FPE";
    case SIGUSR1:
      return "USR1";
    case SIGUSR2:
      return "USR2";
    case SIGSEGV:
      return "SEGV";
    case SIGPIPE:
      return "PIPE";
    case SIGALRM:
      return "ALRM";
    case SIGTERM:
      return "TERM";
    case SIGCHLD:
      return "CHLD";
    case SIGPROF:
      return "PROF";
    case SIGVTALRM:
      return "VTALRM";
    case SIGWINCH:
      return "WINCH";
    case SIGIO:
      return "IO";
    default:
      return nullptr;
  }
}

// sigaction(2) tells the handler of each signal. Only a library that imports a function for it is
// asked about.
std::vector<RetainReason> SignalHandlers(const LoadedImage& image) {
  if (!image.tracking->uses_signals()) return {};
  std::vector<RetainReason> reasons;
  const auto end = image.base + image.origin.memory_size;
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction action {};
    if (sigaction(number, nullptr, &action) != 0) continue;
    const auto handler = reinterpret_cast<uintptr_t>(action.sa_handler);
    if (handler < image.base || handler >= end) continue;
    const char* name = SignalName(number);
    reasons.push_back({"signal-handler",
                       "it handles the signal " +
                           (name != nullptr ? "SIG" + std::string(name) : std::to_string(number))});
  }
  return reasons;
}

std::vector<RetainReason> WhyStillThere(const LoadedImage& image) {
  if (!IsLoaded(image.loader_name)) return {};
  if (IsShared(image)) {
    return {{"opened-elsewhere", "another handle of soswap has the same image"}};
  }
  auto reasons = WhyStillMapped(image.origin.unload, ObjectsThatNeed(image.loader_name),
                                !image.origin.from_file);
  if (reasons.front().code == "unknown" && HasOpenedItself(image.loader_name.c_str())) {
    reasons.front().detail = "it opened itself with dlopen(3), and may not have closed that handle";
  }
  return reasons;
}

void WaitFor(const std::shared_ptr<LoadedImage>& image, LoaderHandle& handle) {
  image->tracking->Wait();
  const std::lock_guard lock(TheWaiting().mutex);
  // First a place, which may fail: to drop the handle would unmap the image.
  Waiting& place = TheWaiting().images.emplace_back();
  place = {image, std::move(handle), image->origin.thread};
}

std::vector<RetainReason> CloseNow(const std::shared_ptr<LoadedImage>& image, LoaderHandle handle) {
  handle.reset();
  Tracking* tracking = image->tracking.get();
  try {
    auto reasons = WhyStillThere(*image);
    if (tracking != nullptr && !IsShared(*image)) {
      if (reasons.empty()) {
        tracking->Finish();
      } else {
        tracking->Resume();
      }
    }
    if (reasons.empty() || reasons.front().code == "opened-elsewhere") {
      RemoveLoadedImage(*image);  // who else has it open answers for it
    } else {
      MarkRetained(*image, reasons);
    }
    return reasons;
  } catch (const std::bad_alloc&) {
    RemoveLoadedImage(*image);
    if (!IsLoaded(image->loader_name)) return {};
    return {{"unknown", "no memory"}};  // so short that it takes none but for the list
  }
}

}  // namespace

std::vector<RetainReason> WhyInUse(const LoadedImage& image) {
  if (image.tracking == nullptr) return {};
  auto reasons = image.tracking->Reasons();
  for (auto& each : SignalHandlers(image)) reasons.push_back(std::move(each));
  return reasons;
}

namespace {

// Leaves `handle` as it is where memory is short.
std::vector<RetainReason> CloseOrWaitWith(const std::shared_ptr<LoadedImage>& image,
                                          LoaderHandle& handle, bool force) {
  Tracking* tracking = image->tracking.get();
  if (tracking == nullptr || IsShared(*image)) return CloseNow(image, std::move(handle));
  if (ThreadRecord* record = ThreadRecord::IfAny()) record->Run(tracking);
  if (force) {
    tracking->ForceEnd();
    return CloseNow(image, std::move(handle));
  }
  auto reasons = WhyInUse(*image);
  if (reasons.empty()) {
    const auto needing = ObjectsThatNeed(image->loader_name);
    if (!needing.empty()) {
      reasons.push_back({"needed-by", "other objects need it: " + needing.front()});
    }
  }
  if (reasons.empty() && tracking->TryEnd()) return CloseNow(image, std::move(handle));
  if (reasons.empty()) reasons = {{"running-threads", "a thread is just leaving its code"}};
  MarkRetained(*image, reasons);
  // A use that ends before the next line calls no listener; then the next sweep finds out.
  WaitFor(image, handle);
  return reasons;
}

}  // namespace

// The image ends only in the instruction that finds no use of it, and nobody who comes later gets
// in: a key's destructor and a notification ask Enter() or find nothing under their number. So
// between that and dlclose(3) no other thread runs code of the image or returns into it. What its
// own termination functions leave behind on this thread is forgotten once it is gone.
std::vector<RetainReason> CloseOrWait(const std::shared_ptr<LoadedImage>& image,
                                      LoaderHandle handle, bool force) {
  try {
    return CloseOrWaitWith(image, handle, force);
  } catch (...) {
    static_cast<void>(handle.release());  // it stays mapped
    throw;
  }
}

size_t SweepWaiting() {
  std::vector<Waiting> mine;
  {
    const std::lock_guard lock(TheWaiting().mutex);
    auto& all = TheWaiting().images;
    mine.reserve(all.size());  // the rest must not fail: to drop a handle would unmap its image
    for (Waiting& each : all) {
      if (each.thread == 0 || each.thread == ThisThread()) mine.push_back(std::move(each));
    }
    std::erase_if(all, [](const Waiting& each) { return each.image == nullptr; });
  }
  for (Waiting& each : mine) {
    try {
      CloseOrWait(each.image, std::move(each.handle), false);
    } catch (const std::bad_alloc&) {
      // It stays mapped.
    }
  }
  const std::lock_guard lock(TheWaiting().mutex);
  return TheWaiting().images.size();
}

void OrphanWaiting() {
  const std::lock_guard lock(TheWaiting().mutex);
  for (Waiting& each : TheWaiting().images) {
    if (each.thread == ThisThread()) each.thread = 0;
    if (each.thread == 0) each.image->origin.thread = 0;
  }
}

LoaderHandle TakeWaiting(const std::string& loader_name) {
  const std::lock_guard lock(TheWaiting().mutex);
  auto& all = TheWaiting().images;
  const auto found = std::find_if(all.begin(), all.end(), [&](const Waiting& each) {
    return each.image->loader_name == loader_name;
  });
  if (found == all.end()) return nullptr;
  LoaderHandle handle = std::move(found->handle);
  all.erase(found);
  return handle;
}

void AddLoadedImage(const std::shared_ptr<LoadedImage>& image) {
  const std::lock_guard lock(TheList().mutex);
  std::erase_if(TheList().images, [&](const auto& each) {
    return !each->retained.empty() && each->loader_name == image->loader_name;
  });
  TheList().images.push_back(image);
}

void RemoveLoadedImage(const LoadedImage& image) {
  const std::lock_guard lock(TheList().mutex);
  std::erase_if(TheList().images, [&](const auto& each) { return each.get() == &image; });
}

bool IsShared(const LoadedImage& image) {
  const std::lock_guard lock(TheList().mutex);
  const auto& images = TheList().images;
  return std::any_of(images.begin(), images.end(), [&](const auto& each) {
    return each.get() != &image && each->retained.empty() && each->loader_name == image.loader_name;
  });
}

size_t HoldersOf(const std::string& loader_name) {
  const std::lock_guard lock(TheList().mutex);
  const auto& images = TheList().images;
  return static_cast<size_t>(std::count_if(images.begin(), images.end(), [&](const auto& each) {
    return each->retained.empty() && each->loader_name == loader_name;
  }));
}

std::string_view MappedFrom(const ImageOrigin& origin) noexcept {
  return origin.from_file ? std::string_view(origin.path) : "snapshot";
}

bool IsLiveImageOf(const std::string& loader_name, const FileIdentity& source) {
  const std::lock_guard lock(TheList().mutex);
  const auto& images = TheList().images;
  return std::any_of(images.begin(), images.end(), [&](const auto& each) {
    return each->loader_name == loader_name && each->origin.source == source;
  });
}

void MarkRetained(LoadedImage& image, std::vector<RetainReason> reasons) {
  const std::lock_guard lock(TheList().mutex);
  image.retained = std::move(reasons);
}

std::vector<LoadedImageInfo> LoadedImages() {
  const std::lock_guard lock(TheList().mutex);
  // A thread that has ended may have let an image go since.
  std::erase_if(TheList().images, [](const auto& image) {
    return !image->retained.empty() && !IsLoaded(image->loader_name);
  });
  std::vector<LoadedImageInfo> infos;
  infos.reserve(TheList().images.size());
  for (const auto& image : TheList().images) {
    if (!image->retained.empty() && image->tracking != nullptr && image->tracking->waits()) {
      if (auto now = image->tracking->Reasons(); !now.empty()) image->retained = std::move(now);
    }
    infos.push_back(
        {image->origin, image->loader_name, image->base, image->calls.value(), image->retained});
  }
  return infos;
}

bool IsLoaded(const std::string& loader_name) {
  return dl_iterate_phdr(
             [](dl_phdr_info* info, size_t, void* name) {
               return *static_cast<const std::string*>(name) == info->dlpi_name ? 1 : 0;
             },
             const_cast<std::string*>(&loader_name)) != 0;
}

}  // namespace soswap
