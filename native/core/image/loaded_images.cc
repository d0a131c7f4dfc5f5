#include "core/image/loaded_images.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/base/error.h"
#include "core/base/file_descriptor.h"
#include "core/base/this_thread.h"
#include "core/copy/source_file.h"
#include "core/image/needed_by.h"
#include "core/image/written_memory.h"
#include "core/loader/loader_turn.h"
#include "core/resolve/dependency_file.h"
#include "core/tracking/thread_record.h"

namespace soswap {
namespace {

// Of the process. A retained image takes four to six of the 65,530 mappings that Linux allows by
// default, and each one makes dlopen(3) slower.
constexpr MemoryUse kDefaultLimit{4000, uint64_t{4} << 30};

struct List {
  std::mutex mutex;
  std::vector<std::shared_ptr<LoadedImage>> images;
  MemoryUse limit = kDefaultLimit;
};

// Never destroyed: images are closed by finalizers that may run after the destructors of statics.
List& TheList() {
  static auto* list = new List;
  return *list;
}

// Where a loaded object can write; nothing for a name that no object has.
using Found = std::vector<std::optional<std::vector<AddressRange>>>;

// Looks for objects of these names.
Found Walk(const std::vector<std::string>& names, bool with_ranges) {
  struct Search {
    std::unordered_map<std::string_view, size_t> wanted;
    Found found;
    bool with_ranges;
    bool out_of_memory = false;
  };
  Search search{{}, Found(names.size()), with_ranges};
  search.wanted.reserve(names.size());
  for (size_t index = 0; index < names.size(); ++index) search.wanted.emplace(names[index], index);
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        Search& into = *static_cast<Search*>(data);
        const auto known = into.wanted.find(info->dlpi_name);
        if (known == into.wanted.end()) return 0;
        try {  // no exception may pass through the C library, which holds a lock meanwhile
          auto& found = into.found[known->second];
          found.emplace();
          if (into.with_ranges) found = WritableRanges(*info);
        } catch (const std::bad_alloc&) {
          into.out_of_memory = true;
        }
        return into.out_of_memory ? 1 : 0;
      },
      &search);
  if (search.out_of_memory) throw std::bad_alloc();
  // A name that is asked for twice.
  for (size_t index = 0; index < names.size(); ++index) {
    const size_t first = search.wanted.find(names[index])->second;
    if (first != index) search.found[index] = search.found[first];
  }
  return std::move(search.found);
}

// Bytes of pages that the object at this address has written.
uint64_t WrittenBy(uintptr_t base) {
  struct Search {
    uintptr_t base;
    std::vector<AddressRange> ranges;
  } search{base, {}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        Search& into = *static_cast<Search*>(data);
        if (info->dlpi_addr != into.base) return 0;
        try {
          into.ranges = WritableRanges(*info);
        } catch (const std::bad_alloc&) {
          // Then it is not counted.
        }
        return 1;
      },
      &search);
  return WrittenMemory().In(search.ranges);
}

// A given up image of which code may still run, or for which the loader had no time. Its handle is
// open, so the loader keeps it.
struct Waiting {
  std::shared_ptr<LoadedImage> image;
  LoaderHandle handle;
  bool force = false;
  pid_t thread = 0;        // 0: any
  bool is_needed = false;  // by other objects, and nothing else keeps it
};

struct WaitingList {
  std::mutex mutex;
  std::vector<Waiting> images;
};

WaitingList& TheWaiting() {
  static auto* list = new WaitingList;
  return *list;
}

// By the paths of their files.
std::vector<std::string> BoundObjects(const LoadedImage& image, bool with_needed = false) {
  auto names = ObjectsBoundTo(image.loader_name, image.base, image.base + image.origin.memory_size,
                              with_needed);
  for (std::string& name : names) name = PathOfObject(name);
  return names;
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

std::vector<RetainReason> WhyBound(const LoadedImage& image, bool with_needed = false) {
  const auto names = BoundObjects(image, with_needed);
  if (names.empty()) return {};
  return {{"bound-by", "other objects are bound to it: " + Join(names)}};
}

std::vector<RetainReason> WhyStillThere(const LoadedImage& image) {
  if (!IsLoaded(image.loader_name)) return {};
  if (IsShared(image)) {
    return {{"opened-elsewhere", "another handle of soswap has the same image"}};
  }
  auto reasons = WhyStillMapped(image.origin.unload, ObjectsThatNeed(image.loader_name),
                                !image.origin.from_file);
  if (reasons.front().code == "unknown") {
    if (auto bound = WhyBound(image, true); !bound.empty()) return bound;
  }
  if (reasons.front().code == "unknown" && HasOpenedItself(image.loader_name.c_str())) {
    reasons.front().detail = "it opened itself with dlopen(3), and may not have closed that handle";
  }
  return reasons;
}

void WaitFor(const std::shared_ptr<LoadedImage>& image, LoaderHandle& handle, bool force,
             bool is_needed = false) {
  if (image->tracking != nullptr) image->tracking->Wait();
  const std::lock_guard lock(TheWaiting().mutex);
  // First a place, which may fail: to drop the handle would unmap the image.
  Waiting& place = TheWaiting().images.emplace_back();
  place = {image, std::move(handle), force, image->origin.thread, is_needed};
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
  std::vector<RetainReason> reasons;
  if (image.tracking != nullptr) {
    reasons = image.tracking->Reasons();
    for (auto& each : SignalHandlers(image)) reasons.push_back(std::move(each));
  }
  if (!reasons.empty()) return reasons;  // what the dependencies do matters after that
  if (image.is_global) reasons = WhyBound(image);
  if (!reasons.empty()) return reasons;
  return image.dependencies.Reasons(image.base, image.base + image.origin.memory_size);
}

namespace {

using std::chrono::milliseconds;

// How long a close may wait for the loader. JavaScript must go on; another thread has time.
milliseconds PatienceFor(const LoadedImage& image) {
  const bool is_javascript = image.origin.thread == 0 || image.origin.thread == ThisThread();
  return is_javascript ? milliseconds(50) : milliseconds(std::chrono::hours(24 * 365));
}

// Leaves `handle` as it is where memory is short.
std::vector<RetainReason> CloseOrWaitWith(const std::shared_ptr<LoadedImage>& image,
                                          LoaderHandle& handle, bool force, milliseconds patience) {
  const LoaderTurn turn(patience);
  if (!turn.taken()) {
    std::vector<RetainReason> reasons = {
        {"loader-busy", "a constructor or a destructor of another library runs on another thread"}};
    MarkRetained(*image, reasons);
    WaitFor(image, handle, force);
    return reasons;
  }
  Tracking* tracking = image->tracking.get();
  if (IsShared(*image)) return CloseNow(image, std::move(handle));
  ThreadRecord* record = tracking == nullptr ? nullptr : ThreadRecord::IfAny();
  if (record != nullptr) record->Run(tracking);
  if (force) {
    if (tracking != nullptr) tracking->ForceEnd();
    return CloseNow(image, std::move(handle));
  }
  auto reasons = WhyInUse(*image);
  if (reasons.empty() && tracking != nullptr) {
    const auto needing = ObjectsThatNeed(image->loader_name);
    if (!needing.empty()) {
      reasons.push_back({"needed-by", "other objects need it: " + needing.front()});
    }
  }
  if (reasons.empty() && (tracking == nullptr || tracking->TryEnd())) {
    image->dependencies.KeepLoaded();
    return CloseNow(image, std::move(handle));
  }
  if (reasons.empty()) reasons = {{"running-threads", "a thread is just leaving its code"}};
  MarkRetained(*image, reasons);
  // A use that ends before the next line calls no listener; then the next sweep finds out.
  WaitFor(image, handle, force, reasons.front().code == "needed-by");
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
    return CloseOrWaitWith(image, handle, force, PatienceFor(*image));
  } catch (...) {
    static_cast<void>(handle.release());  // it stays mapped
    throw;
  }
}

namespace {

// Threads of dependencies are looked at once for many images here, and again for each that could
// go.
bool StillWaits(Waiting& waiting, std::optional<DependencyUse::Threads>& threads) {
  const LoadedImage& image = *waiting.image;
  if (!image.dependencies.any()) return false;
  if (!threads) threads.emplace();
  const uintptr_t end = image.base + image.origin.memory_size;
  if (!image.dependencies.MayRunOn(*threads, image.base, end)) return false;
  const std::lock_guard lock(TheWaiting().mutex);
  Waiting& place = TheWaiting().images.emplace_back();
  place = std::move(waiting);
  return true;
}

}  // namespace

size_t SweepWaiting(bool needed_alone) {
  std::vector<Waiting> mine;
  {
    const std::lock_guard lock(TheWaiting().mutex);
    auto& all = TheWaiting().images;
    mine.reserve(all.size());  // the rest must not fail: to drop a handle would unmap its image
    for (Waiting& each : all) {
      const bool is_mine = each.thread == 0 || each.thread == ThisThread();
      if (is_mine && (!needed_alone || each.is_needed)) mine.push_back(std::move(each));
    }
    std::erase_if(all, [](const Waiting& each) { return each.image == nullptr; });
  }
  std::optional<DependencyUse::Threads> threads;
  for (Waiting& each : mine) {
    try {
      if (!each.force && StillWaits(each, threads)) continue;
      CloseOrWaitWith(each.image, each.handle, each.force, milliseconds(0));
    } catch (const std::bad_alloc&) {
      static_cast<void>(each.handle.release());  // it stays mapped
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

bool StaysOpen(const std::string& loader_name) {
  const std::lock_guard lock(TheList().mutex);
  const auto& images = TheList().images;
  return std::any_of(images.begin(), images.end(), [&](const auto& each) {
    if (each->loader_name != loader_name) return false;
    return each->retained.empty() || each->retained.front().code != "needed-by";
  });
}

namespace {

// Whether the path of the image leads to other bytes by now. A file that was written with the same
// bytes again has the same build id. A file that is gone can replace nothing.
bool IsReplaced(const ImageOrigin& origin) {
  const FileDescriptor file = TryOpenForReading(origin.path);
  if (!file.valid()) return false;
  try {
    FileIdentity now = Identify(file.get(), origin.path);
    now.ctime_ns = origin.source.ctime_ns;
    if (now == origin.source) return false;
    now.mtime_ns = origin.source.mtime_ns;
    if (now != origin.source || !origin.build_id) return true;
    return DependencyFile::Read(origin.path)->facts().build_id != origin.build_id;
  } catch (const Error&) {
    return true;
  }
}

}  // namespace

std::vector<StaleImage> StaleImages(const std::vector<std::string>& loader_names) {
  struct Found {
    ImageOrigin origin;
    StaleImage image;
    bool is_followed = false;  // its handle runs another image
  };
  std::vector<Found> all;
  {
    const std::lock_guard lock(TheList().mutex);
    const auto& images = TheList().images;
    for (const std::string& name : loader_names) {
      const auto found = std::find_if(images.begin(), images.end(),
                                      [&](const auto& each) { return each->loader_name == name; });
      if (found == images.end()) continue;
      const ImageOrigin& origin = (*found)->origin;
      const bool given_up = !(*found)->retained.empty();
      const bool is_followed =
          given_up && std::any_of(images.begin(), images.end(), [&](const auto& each) {
            return each->retained.empty() && each->origin.path == origin.path;
          });
      all.push_back({origin, {name, origin.path, origin.generation, given_up, {}}, is_followed});
    }
  }
  std::erase_if(all,
                [](const Found& each) { return !each.is_followed && !IsReplaced(each.origin); });
  if (all.empty()) return {};
  auto needing = ObjectsByNeed();
  std::vector<StaleImage> stale;
  for (Found& each : all) {
    each.image.needed_by = std::move(needing[each.image.loader_name]);
    stale.push_back(std::move(each.image));
  }
  return stale;
}

void MarkRetained(LoadedImage& image, std::vector<RetainReason> reasons) {
  const bool is_new = image.retained.empty();
  const uint64_t written = is_new ? WrittenBy(image.base) : 0;
  const std::lock_guard lock(TheList().mutex);
  if (is_new) image.written = written;
  image.retained = std::move(reasons);
  image.history = 0;
}

void ShowHistory(LoadedImage& image, uint64_t bytes) {
  const std::lock_guard lock(TheList().mutex);
  image.history = bytes;
}

std::vector<LoadedImageInfo> LoadedImages() {
  const std::lock_guard lock(TheList().mutex);
  auto& images = TheList().images;
  std::vector<std::string> names;
  names.reserve(images.size());
  for (const auto& image : images) names.push_back(image->loader_name);
  const auto found = Walk(names, true);
  const WrittenMemory memory;
  std::vector<LoadedImageInfo> infos;
  infos.reserve(images.size());
  std::vector<std::shared_ptr<LoadedImage>> left;
  left.reserve(images.size());
  for (size_t index = 0; index < images.size(); ++index) {
    LoadedImage& image = *images[index];
    // A thread that has ended may have let it go since.
    if (!image.retained.empty() && !found[index]) continue;
    left.push_back(images[index]);
    if (!image.retained.empty() && image.tracking != nullptr && image.tracking->waits()) {
      if (auto now = image.tracking->Reasons(); !now.empty()) image.retained = std::move(now);
    }
    if (found[index]) image.written = memory.In(*found[index]);
    infos.push_back({image.origin, image.loader_name, image.base, image.calls.value(),
                     image.retained, image.written, image.history, image.hooks, image.keeps,
                     image.is_global ? BoundObjects(image) : std::vector<std::string>()});
  }
  images = std::move(left);
  return infos;
}

MemoryUse RetainedImages() {
  const std::lock_guard lock(TheList().mutex);
  MemoryUse use;
  for (const auto& image : TheList().images) {
    if (image->retained.empty()) continue;
    ++use.images;
    use.bytes += image->origin.copy_size + image->written;
  }
  return use;
}

size_t RetainedImagesOf(const std::string& path) {
  const std::lock_guard lock(TheList().mutex);
  const auto& images = TheList().images;
  return static_cast<size_t>(std::count_if(images.begin(), images.end(), [&](const auto& each) {
    return !each->retained.empty() && each->origin.path == path;
  }));
}

std::vector<std::optional<uint64_t>> HeldBytes(const std::vector<std::string>& loader_names) {
  std::unordered_map<std::string_view, uint64_t> copies;
  const std::lock_guard lock(TheList().mutex);
  for (const auto& image : TheList().images) {
    copies.emplace(image->loader_name, image->origin.copy_size);
  }
  const auto found = Walk(loader_names, true);
  const WrittenMemory memory;
  std::vector<std::optional<uint64_t>> held(loader_names.size());
  for (size_t index = 0; index < held.size(); ++index) {
    if (!found[index]) continue;
    const auto copy = copies.find(loader_names[index]);
    held[index] = memory.In(*found[index]) + (copy == copies.end() ? 0 : copy->second);
  }
  return held;
}

std::vector<bool> AreLoaded(const std::vector<std::string>& loader_names) {
  const auto found = Walk(loader_names, false);
  std::vector<bool> loaded(found.size());
  for (size_t index = 0; index < found.size(); ++index) loaded[index] = found[index].has_value();
  return loaded;
}

uint64_t UnmappedObjects() noexcept {
  uint64_t count = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* into) {
        *static_cast<uint64_t*>(into) = info->dlpi_subs;
        return 1;
      },
      &count);
  return count;
}

MemoryUse RetainedLimit() {
  const std::lock_guard lock(TheList().mutex);
  return TheList().limit;
}

void SetRetainedLimit(const MemoryUse& limit) {
  const std::lock_guard lock(TheList().mutex);
  TheList().limit = limit;
}

bool IsLoaded(const std::string& loader_name) {
  return dl_iterate_phdr(
             [](dl_phdr_info* info, size_t, void* name) {
               return *static_cast<const std::string*>(name) == info->dlpi_name ? 1 : 0;
             },
             const_cast<std::string*>(&loader_name)) != 0;
}

}  // namespace soswap
