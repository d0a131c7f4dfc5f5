#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/image/loaded_images.h"
#include "core/life/life.h"
#include "core/loader/dl.h"
#include "core/resolve/inspected_snapshot.h"

namespace soswap {

// Checks that the path of an image that maps the file leads to the file that was copied. Throws
// Error, kChangedWhileRead if not. Any thread.
void AssertUnchanged(const ImageOrigin& origin);

// One loaded copy of a shared object. Open, Symbol and Close may run on any thread, one at a time.
class Image final {
 public:
  // Loads the snapshot under a name of its own. `mode` as in dlopen(3). `providers` are the loader
  // names of the loaded images that are its provided dependencies, in the order of
  // InspectedSnapshot::provided. Throws Error: kLoader with the loader's text, kMissingDependency,
  // and what ProvidedObjects throws.
  static std::shared_ptr<Image> Open(ImageOrigin origin,
                                     std::shared_ptr<InspectedSnapshot> inspected, int mode,
                                     std::vector<std::string> providers = {});

  // Loads the file itself, of which `inspected` is a copy. Throws Error: kLoader; kStillLoaded if
  // the loader has another file under that name, which dlopen(3) would return; kChangedWhileRead if
  // the loader may have mapped another file than `inspected`, and closes that again.
  static std::shared_ptr<Image> OpenDirect(ImageOrigin origin,
                                           std::shared_ptr<InspectedSnapshot> inspected, int mode);

  // Takes the part of the C library that `inspected` is a copy of as the process has it, or loads
  // its file. Throws Error: kLoader.
  static std::shared_ptr<Image> OpenLoaded(ImageOrigin origin,
                                           std::shared_ptr<InspectedSnapshot> inspected, int mode);

  // Loads an image again that was closed, from this copy of its file and with these providers, as
  // Open() has them. If it stayed mapped then, takes it as it is, bound as it is. Throws Error.
  static std::shared_ptr<Image> OpenAgain(const Image& closed,
                                          std::shared_ptr<InspectedSnapshot> inspected,
                                          std::vector<std::string> providers, bool stayed_mapped);

  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  // Closes the image, unless that was done or unmapping it could crash the process: a call that was
  // never left may still run, say.
  ~Image();

  // The address of a symbol in this image or in what it depends on, as dlsym(3) finds it; nothing
  // if it is absent. A symbol may have the address null. Does not ask the loader for a function or
  // a variable of a private copy itself.
  std::optional<void*> Symbol(const std::string& name) const;

  // The same, null for what is absent too.
  void* Address(const std::string& name) const { return Symbol(name).value_or(nullptr); }

  // Finds the addresses of these symbols, for found() to have them at hand.
  void FindSymbols(const std::vector<std::string>& names);
  const std::vector<void*>& found() const noexcept { return found_; }

  // Its hooks, and what it keeps.
  Life& life() noexcept { return life_; }
  const Life& life() const noexcept { return life_; }

  // Gives the image up. Unloads it (see Life::Unload()); one that refuses stays mapped, unless
  // something forces it. Calls dlclose(3), unless code of the image may still run and nothing
  // forces it (see CloseOrWait()), and then checks whether the image is still mapped, because the
  // return value proves nothing. Returns why it is still mapped, or nothing if it is gone.
  std::vector<RetainReason> Close(bool force = false);

  // Whether it is bound to an image that its handle has given up and replaced, or, if it `closes`
  // before the next one is opened, whether a dependency that goes with it has another file now.
  // `all`: dependencies that are kept otherwise go too.
  bool HasStaleDependency(bool closes, bool all) const;
  // The paths of its dependencies, without those of the program.
  std::vector<std::string> DependencyPaths() const;
  // Those of them that stay loaded when the image is closed. `all` as above.
  std::vector<std::string> StayingDependencies(bool all) const;

  // Why code of it may still run, beside what is due on this thread.
  std::vector<RetainReason> WhyInUse() const { return soswap::WhyInUse(*record_); }
  // Runs what is due at the end of this thread.
  void EndThread() const;

  // Makes the list of images show it as retained while it is open: nobody uses it but calls in
  // flight, say.
  void ShowRetained(std::vector<RetainReason> reasons) const {
    MarkRetained(*record_, std::move(reasons));
  }

  // Makes the list of images show the bytes of the copies that its handle can go back to.
  void ShowHistory(uint64_t bytes) const { soswap::ShowHistory(*record_, bytes); }

  // Gives the image up but leaves it mapped for as long as the process lives, for these reasons.
  void Keep(std::vector<RetainReason> reasons);

  bool open() const noexcept { return handle_ != nullptr; }
  // The copy of its file; null once the image is closed.
  const std::shared_ptr<InspectedSnapshot>& inspected() const noexcept { return inspected_; }
  const std::string& loader_name() const noexcept { return record_->loader_name; }
  // "snapshot", or the path of the file.
  std::string_view mapped_from() const noexcept { return MappedFrom(record_->origin); }
  uintptr_t base() const noexcept { return record_->base; }
  uint64_t copy_size() const noexcept { return record_->origin.copy_size; }
  CallCount& calls() noexcept { return record_->calls; }
  // The same, for whoever counts calls that may return after the image is gone.
  std::shared_ptr<CallCount> shared_calls() const noexcept { return {record_, &record_->calls}; }
  // The loader names of the images that were its provided dependencies when it was opened.
  const std::vector<std::string>& providers() const noexcept { return providers_; }

 private:
  Image(ImageOrigin origin, LoaderHandle handle, std::shared_ptr<InspectedSnapshot> inspected,
        int mode, KnownImage known);

  std::vector<RetainReason> Unload(bool force);
  std::optional<void*> OwnSymbol(const std::string& name) const;
  std::vector<RetainReason> LeaveLoaded();

  std::shared_ptr<InspectedSnapshot> inspected_;  // the loader maps its bytes, or could
  int mode_;
  std::vector<std::string> providers_;
  LoaderHandle handle_;
  std::shared_ptr<LoadedImage> record_;
  std::vector<void*> found_;
  Life life_;
};

}  // namespace soswap
