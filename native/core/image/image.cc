#include "core/image/image.h"

#include <dlfcn.h>
#include <link.h>

#include <new>
#include <utility>

#include "core/base/error.h"
#include "core/loader/dl.h"
#include "core/loader/loaded_objects.h"
#include "core/resolve/dependencies.h"
#include "core/tracking/thread_record.h"

namespace soswap {

std::shared_ptr<Image> Image::Open(ImageOrigin origin, std::shared_ptr<InspectedSnapshot> inspected,
                                   int mode) {
  const ElfFacts& elf = inspected->elf.facts();
  const std::string loader_name = inspected->snapshot->NewLoaderName();
  const ImageIdentity identity = ImageIdentity::Of(origin.path, elf);
  const KnownImage known(loader_name, identity);  // to its constructors
  const auto& tracking = inspected->tracking;
  const bool began = tracking != nullptr && tracking->Begin();
  LoaderHandle handle;
  try {
    handle.reset(LoadSnapshot(origin.path, elf, loader_name, mode));
  } catch (...) {
    if (began) tracking->TryEnd();  // nothing of it is mapped
    throw;
  }
  origin.from_file = false;
  return std::shared_ptr<Image>(
      new Image(std::move(origin), std::move(handle), std::move(inspected), mode, &identity));
}

std::shared_ptr<Image> Image::OpenDirect(ImageOrigin origin,
                                         std::shared_ptr<InspectedSnapshot> inspected, int mode) {
  // dlopen(3) would return what it has under this name, whatever the file is by now.
  if (IsLoaded(origin.path) && !IsLiveImageOf(origin.path, origin.source) &&
      !IsMappedFromFile(origin.path)) {
    throw Error(
        Fault::kStillLoaded, "load", origin.path,
        "an older image of it stays loaded in this process, and dlopen(3) would return that");
  }
  LoaderHandle handle(dlopen(origin.path.c_str(), mode));
  if (handle == nullptr) throw Error(Fault::kLoader, "load", origin.path, LoaderText());
  origin.from_file = true;
  return std::shared_ptr<Image>(
      new Image(std::move(origin), std::move(handle), std::move(inspected), mode, nullptr));
}

std::shared_ptr<Image> Image::OpenAgain(const Image& closed,
                                        std::shared_ptr<InspectedSnapshot> inspected,
                                        bool stayed_mapped) {
  ImageOrigin origin = closed.record_->origin;
  if (!stayed_mapped) {
    return Open(std::move(origin), std::move(inspected), closed.mode_);
  }
  LoaderHandle handle(dlopen(closed.loader_name().c_str(), closed.mode_ | RTLD_NOLOAD));
  if (handle == nullptr) throw Error(Fault::kLoader, "load", origin.path, LoaderText());
  TakeWaiting(closed.loader_name());  // it has another handle now
  const ImageIdentity* identity = FindKnownImage(closed.loader_name().c_str());
  return std::shared_ptr<Image>(new Image(std::move(origin), std::move(handle),
                                          std::move(inspected), closed.mode_, identity));
}

Image::Image(ImageOrigin origin, LoaderHandle handle, std::shared_ptr<InspectedSnapshot> inspected,
             int mode, const ImageIdentity* identity)
    : inspected_(std::move(inspected)),
      mode_(mode),
      handle_(std::move(handle)),
      record_(std::make_shared<LoadedImage>()) {
  link_map* map = nullptr;
  if (dlinfo(handle_.get(), RTLD_DI_LINKMAP, &map) != 0) {
    throw Error(Fault::kLoader, "load", origin.path, LoaderText());
  }
  record_->origin = std::move(origin);
  // What the loader calls it, not what we asked for: it may have found an image that was there
  // before.
  record_->loader_name = map->l_name;
  record_->base = map->l_addr;
  if (!record_->origin.from_file && inspected_ != nullptr) record_->tracking = inspected_->tracking;
  if (identity != nullptr) record_->known = KnownImage(record_->loader_name, *identity);
  AddLoadedImage(record_);
}

Image::~Image() {
  if (handle_ == nullptr) return;
  try {
    if (record_->origin.may_unmap) {
      Close(false);
    } else {
      static_cast<void>(handle_.release());  // first: to make the reason may fail
      Keep({{"kept", "its handle was dropped without being closed"}});
    }
  } catch (const std::bad_alloc&) {
    // It is closed or left mapped all the same; only the reason is lost.
  }
}

void Image::FindSymbols(const std::vector<std::string>& names) {
  found_.reserve(names.size());
  for (const std::string& name : names) found_.push_back(Address(name));
}

std::optional<void*> Image::Symbol(const std::string& name) const {
  return FindSymbol(handle_.get(), name.c_str());
}

std::vector<RetainReason> Image::Close(bool force) {
  inspected_.reset();
  return CloseOrWait(record_, std::move(handle_), force);
}

void Image::EndThread() const {
  if (record_->tracking == nullptr) return;
  if (ThreadRecord* record = ThreadRecord::IfAny()) record->Run(record_->tracking.get());
}

void Image::Keep(std::vector<RetainReason> reasons) {
  static_cast<void>(handle_.release());
  inspected_.reset();
  MarkRetained(*record_, std::move(reasons));
}

}  // namespace soswap
