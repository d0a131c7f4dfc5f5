#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/loader/loaded_objects.h"
#include "core/loader/unload.h"
#include "core/tracking/thread_starts.h"

namespace soswap {

// What an image that is loaded needs, directly or not, without what the main program needs.
// `needed` are its DT_NEEDED entries. Any thread.
LoadedObjects::Objects DependenciesOf(const std::string& loader_name,
                                      const std::vector<std::string>& needed);

// The dependencies of an image, direct or not, whose code may run by itself: they import functions
// that start threads, or that register destructors for the end of threads. They are no private
// copies, so what they do with these is not tracked. But it can be seen whether a thread of theirs
// is alive, and whether they, or the C library on their behalf, hold an address of the image. While
// neither is so, they cannot call the image, provided that they themselves stay loaded.
class DependencyUse final {
 public:
  // Of an image that is loaded. Any thread.
  explicit DependencyUse(LoadedObjects::Objects all);
  DependencyUse() = default;

  // The threads of the process at one moment, for many images.
  class Threads final {
   public:
    Threads();

   private:
    friend class DependencyUse;

    struct Thread {
      ThreadStart start;
      const LoadedObject* begins_in = nullptr;  // null: in none, or nowhere
      bool shows_whose = false;  // it is the program's if what it runs is not the dependencies'
    };

    LoadedObjects objects_ = LoadedObjects::List();
    std::vector<Thread> threads_;
  };

  bool any() const noexcept { return !running_.empty(); }

  // Why a dependency may still run code of the image, which lies from `start` to below `end`; empty
  // if none can. Code that is only handed out meanwhile is not seen: nobody must be in the image.
  std::vector<RetainReason> Reasons(uintptr_t start, uintptr_t end) const;
  // Whether one of the threads may be a reason.
  bool MayRunOn(const Threads& threads, uintptr_t start, uintptr_t end) const {
    return FindThread(threads, start, end).thread != 0;
  }

  // Before the image is unmapped: keeps those loaded for as long as the process lives.
  void KeepLoaded() const;

 private:
  using Object = std::shared_ptr<const LoadedObject>;

  struct FoundThread {
    pid_t thread = 0;  // 0: none
    bool is_clear = false;
    const LoadedObject* owner = nullptr;  // null: the image itself
  };

  FoundThread FindThread(const Threads& threads, uintptr_t start, uintptr_t end) const;
  const LoadedObject* OwnerOf(uintptr_t address) const;

  LoadedObjects::Objects objects_;  // all of them, if there is one of `running_`
  LoadedObjects::Objects running_;
};

}  // namespace soswap
