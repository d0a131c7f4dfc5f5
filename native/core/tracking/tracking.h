#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/loader/unload.h"
#include "core/tracking/account.h"
#include "core/tracking/thunks.h"

namespace soswap {

// The functions by which code of an image runs later than the call that asked for it. In the order
// of kNames in tracked_functions.cc.
enum class Tracked : uint8_t {
  kPthreadCreate,
  kThrdCreate,
  kStdThread,
  kUvThreadCreate,
  kUvThreadCreateEx,
  kThreadExitImpl,
  kThreadExit,
  kKeyCreate,
  kKeyDelete,
  kSetSpecific,
  kTssCreate,
  kTssDelete,
  kTssSet,
  kUvQueueWork,
  kTimerCreate,
  kTimerDelete,
  kMqNotify,
  kGetaddrinfoA,
  kAioRead,
  kAioWrite,
  kAioFsync,
  kAioRead64,
  kAioWrite64,
  kAioFsync64,
  kLioListio,
  kLioListio64,
  kOnExit,
  kAtQuickExit,
  kDlsym,
  kDlopen,
  kDlmopen,
  kCount,
};

// What dlopen(3) and dlmopen(3) are for images: they see nothing of what comes later, but who
// calls. `caller` is the loader's name of the image.
struct OpenFunctions {
  void* (*open)(const char* caller, const char* file, int mode);
  void* (*open_in_namespace)(const char* caller, long space, const char* file, int mode);
};

// What still holds the image of one private copy: threads that it started, destructors that are
// due at the end of threads, work that others do for it. Each is a use, from before it can run code
// of the image until it cannot any more. An object is never freed but used again, so a late caller
// finds one that refuses it. Any thread, unless said.
//
// All uses are one number, and a bit of the same word says that the image ends. TryEnd() sets it
// only where the number is 0, in one instruction. Add() is for code of the image itself, which
// somebody else keeps mapped at that moment: a use, a call in flight, the loader. Enter() is for
// everybody else, and fails once the image ends. Leave() is called by code of soswap that does not
// return into the image, or by a thread that has another use or call in flight.
class Tracking final {
 public:
  // For one private copy, whose images follow one another; the loader never has two of one file.
  // Null where nothing can be tracked in this process.
  static std::shared_ptr<Tracking> New();

  Tracking(const Tracking&) = delete;
  Tracking& operator=(const Tracking&) = delete;
  ~Tracking() = delete;

  // The function of soswap that an import of this name is bound to; 0 if it is not tracked.
  uintptr_t AddressOf(std::string_view name) const;
  uintptr_t AddressOf(Tracked what) const noexcept {
    return thunks_.AddressOf(static_cast<size_t>(what));
  }

  // Before an image is loaded, under this name. Returns false if one is there already.
  bool Begin(const std::string& loader_name);
  // Of the image. For code of the image, and for soswap while that runs.
  const std::string& loader_name() const noexcept { return loader_name_; }
  // Ends the image if nothing uses it.
  bool TryEnd() noexcept;
  void ForceEnd() noexcept;
  // The loader kept the image all the same.
  void Resume() noexcept { uses_.fetch_and(~kEnded); }
  // The image is unmapped: deletes its keys, and forgets what its destructors left on this thread.
  void Finish() noexcept;

  // A retained image waits: when its uses become 0, the listeners are called.
  void Wait() noexcept { uses_.fetch_or(kWaiting); }

  void Add(Tracked what) noexcept;
  bool Enter(Tracked what, uint32_t incarnation) noexcept;
  void Leave(Tracked what, uint64_t count = 1) noexcept;
  uint32_t incarnation() const noexcept { return incarnation_.load(); }
  bool IsNow(uint32_t incarnation) const noexcept {
    return incarnation == incarnation_.load() && (uses_.load() & kEnded) == 0;
  }

  // Counts what the images take and give back. Null where nothing can be counted.
  Account* OpenAccount();

  // The file imports functions that set signal handlers.
  void set_uses_signals() noexcept { uses_signals_ = true; }
  bool uses_signals() const noexcept { return uses_signals_; }
  bool waits() const noexcept { return (uses_.load() & kWaiting) != 0; }

  // Why code of the image may still run.
  std::vector<RetainReason> Reasons() const;

  std::atomic<uint32_t> keys{0};  // that it has not deleted

 private:
  static constexpr uint64_t kEnded = uint64_t{1} << 63;
  static constexpr uint64_t kWaiting = uint64_t{1} << 62;
  static constexpr uint64_t kReleased = uint64_t{1} << 61;  // no copy, no record has it
  static constexpr uint64_t kNumber = kReleased - 1;

  explicit Tracking(const Thunks::Set& thunks) : thunks_(thunks) {}
  static void Release(Tracking* tracking) noexcept;
  void Recycle() noexcept;

  Thunks::Set thunks_;
  Tracking* next_free_ = nullptr;
  std::atomic<uint64_t> uses_{kEnded};
  std::atomic<uint32_t> incarnation_{0};
  std::array<std::atomic<int32_t>, static_cast<size_t>(Tracked::kCount)> counts_{};
  bool uses_signals_ = false;
  bool is_counted_ = false;
  Account* account_ = nullptr;  // stays for the next private copy
  std::string loader_name_;     // written while there is no image
};

// Calls `changed` whenever a waiting image has no use any more: on any thread, at the end of it
// too. It must not wait. A thread that removes a listener waits until no call of it runs.
uint64_t AddTrackingListener(void (*changed)(void*), void* data);
void RemoveTrackingListener(uint64_t listener);

// To be called before the first Tracking is made. Without it the two are not bound.
void SetOpenFunctions(const OpenFunctions& functions) noexcept;

// Whether the name is tracked here. Any process has the same names.
bool IsTrackedName(std::string_view name);

}  // namespace soswap
