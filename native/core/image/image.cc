#include "core/image/image.h"

#include <dlfcn.h>
#include <link.h>

#include <new>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <utility>

#include "core/base/error.h"
#include "core/loader/dl.h"
#include "core/loader/loaded_objects.h"
#include "core/loader/own_first_objects.h"
#include "core/loader/provided_objects.h"
#include "core/resolve/c_library.h"
#include "core/resolve/dependencies.h"
#include "core/tracking/thread_record.h"

namespace soswap {
namespace {

// The dependencies of an image that must not be loaded like it; held until the image needs them.
class Apart final {
 public:
  explicit Apart(const std::vector<LoadedApart>& objects) {
    for (const LoadedApart& object : objects) {
#ifdef RTLD_DEEPBIND
      const int flags = object.own_first ? RTLD_DEEPBIND : 0;
#else
      const int flags = 0;
#endif
      LoaderHandle handle(dlopen(object.path.c_str(), RTLD_LAZY | RTLD_LOCAL | flags));
      if (!object.own_first) others_.insert(object.path);
      if (handle == nullptr && !object.own_first) complete_ = false;
      if (handle != nullptr) handles_.push_back(std::move(handle));
    }
  }

  // The names of those that the program comes first for.
  const std::unordered_set<std::string>& others() const noexcept { return others_; }

  // The mode for the image itself. One that does not load alone is loaded with the image, and would
  // take its flag.
  int ModeFrom(int mode) const noexcept {
#ifdef RTLD_DEEPBIND
    if (!complete_) return mode & ~RTLD_DEEPBIND;
#endif
    return mode;
  }

 private:
  std::vector<LoaderHandle> handles_;
  std::unordered_set<std::string> others_;
  bool complete_ = true;
};

std::vector<ProvidedObject> ObjectsFor(const InspectedSnapshot& inspected,
                                       const std::vector<std::string>& providers) {
  if (inspected.provided.size() != providers.size()) {
    throw std::invalid_argument("not as many providers as provided dependencies");
  }
  std::vector<ProvidedObject> objects;
  objects.reserve(providers.size());
  for (size_t index = 0; index < providers.size(); ++index) {
    objects.push_back({inspected.provided[index].as->text(), providers[index]});
  }
  return objects;
}

// The names of `others`, and of all that the providers need, which were loaded with them.
std::unordered_set<std::string> OthersThan(std::unordered_set<std::string> others,
                                           const std::vector<std::string>& providers) {
  if (providers.empty()) return others;
  const LoadedObjects objects = LoadedObjects::List();
  for (const std::string& provider : providers) {
    for (const LoadedObject* object : objects.ClosureOf(provider)) others.insert(object->name);
  }
  return others;
}

}  // namespace

std::shared_ptr<Image> Image::Open(ImageOrigin origin, std::shared_ptr<InspectedSnapshot> inspected,
                                   int mode, std::vector<std::string> providers) {
  const ElfFacts& elf = inspected->elf.facts();
  const ProvidedObjects provided(origin.path, ObjectsFor(*inspected, providers));
  const std::string loader_name = inspected->snapshot->NewLoaderName();
  KnownImage known(loader_name, ImageIdentity::Of(origin.path, elf));  // to its constructors
  const auto& tracking = inspected->tracking;
  const bool began = tracking != nullptr && tracking->Begin(loader_name);
  const Apart apart(inspected->apart);
  LoaderHandle handle;
  try {
    handle.reset(LoadSnapshot(origin.path, elf, loader_name, apart.ModeFrom(mode)));
  } catch (...) {
    if (began) tracking->TryEnd();  // nothing of it is mapped
    throw;
  }
#ifdef RTLD_DEEPBIND
  if ((apart.ModeFrom(mode) & RTLD_DEEPBIND) != 0) {
    MarkOwnFirst(loader_name, OthersThan(apart.others(), providers));
  }
#endif
  origin.from_file = false;
  std::shared_ptr<Image> image(new Image(std::move(origin), std::move(handle), std::move(inspected),
                                         mode, std::move(known)));
  image->set_providers(std::move(providers));
  return image;
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
      new Image(std::move(origin), std::move(handle), std::move(inspected), mode, {}));
}

std::shared_ptr<Image> Image::OpenLoaded(ImageOrigin origin,
                                         std::shared_ptr<InspectedSnapshot> inspected, int mode) {
  LoaderHandle handle(dlopen(LoadedNameOfPart(inspected->elf, origin.path).c_str(), mode));
  if (handle == nullptr) throw Error(Fault::kLoader, "load", origin.path, LoaderText());
  origin.from_file = true;
  origin.of_c_library = true;
  return std::shared_ptr<Image>(
      new Image(std::move(origin), std::move(handle), std::move(inspected), mode, {}));
}

std::shared_ptr<Image> Image::OpenAgain(const Image& closed,
                                        std::shared_ptr<InspectedSnapshot> inspected,
                                        bool stayed_mapped) {
  ImageOrigin origin = closed.record_->origin;
  if (!stayed_mapped) {
    if (origin.of_c_library)
      return OpenLoaded(std::move(origin), std::move(inspected), closed.mode_);
    return Open(std::move(origin), std::move(inspected), closed.mode_, closed.providers_);
  }
  std::vector<std::string> providers = closed.providers_;
  LoaderHandle handle(dlopen(closed.loader_name().c_str(), closed.mode_ | RTLD_NOLOAD));
  if (handle == nullptr) throw Error(Fault::kLoader, "load", origin.path, LoaderText());
  TakeWaiting(closed.loader_name());  // it has another handle now
  KnownImage known(closed.loader_name(), ImageIdentity::Of(origin.path, inspected->elf.facts()));
  std::shared_ptr<Image> image(new Image(std::move(origin), std::move(handle), std::move(inspected),
                                         closed.mode_, std::move(known)));
  image->set_providers(std::move(providers));
  return image;
}

Image::Image(ImageOrigin origin, LoaderHandle handle, std::shared_ptr<InspectedSnapshot> inspected,
             int mode, KnownImage known)
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
  record_->known = std::move(known).As(record_->loader_name);
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
  if (record_->origin.of_c_library) return LeaveLoaded();
  inspected_.reset();
  return CloseOrWait(record_, std::move(handle_), force);
}

void Image::EndThread() const {
  if (record_->tracking == nullptr) return;
  if (ThreadRecord* record = ThreadRecord::IfAny()) record->Run(record_->tracking.get());
}

// Without dlclose(3): the other parts may use it, and a part that starts threads must not go. It is
// no image of soswap any more, and so not a retained one.
std::vector<RetainReason> Image::LeaveLoaded() {
  static_cast<void>(handle_.release());
  inspected_.reset();
  RemoveLoadedImage(*record_);
  return {{"c-library", "it is part of the C library, which the process itself uses"}};
}

void Image::Keep(std::vector<RetainReason> reasons) {
  if (record_->origin.of_c_library) {
    LeaveLoaded();
    return;
  }
  static_cast<void>(handle_.release());
  inspected_.reset();
  MarkRetained(*record_, std::move(reasons));
}

}  // namespace soswap
