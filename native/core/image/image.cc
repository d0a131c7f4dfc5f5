#include "core/image/image.h"

#include <dlfcn.h>
#include <link.h>

#include <utility>

#include "core/base/error.h"
#include "core/loader/dl.h"
#include "core/loader/loaded_objects.h"
#include "core/resolve/dependencies.h"

namespace soswap {

std::shared_ptr<Image> Image::Open(ImageOrigin origin, std::shared_ptr<Snapshot> snapshot,
                                   const ElfFacts& elf, int mode) {
  void* handle = LoadSnapshot(origin.path, elf, snapshot->NewLoaderName(), mode);
  return std::shared_ptr<Image>(new Image(std::move(origin), handle, std::move(snapshot)));
}

std::shared_ptr<Image> Image::OpenDirect(ImageOrigin origin, int mode) {
  // dlopen(3) would return what it has under this name, whatever the file is by now.
  if (IsLoaded(origin.path) && !IsLiveImageOf(origin.path, origin.source) &&
      !IsMappedFromFile(origin.path)) {
    throw Error(
        Fault::kStillLoaded, "load", origin.path,
        "an older image of it stays loaded in this process, and dlopen(3) would return that");
  }
  void* handle = dlopen(origin.path.c_str(), mode);
  if (handle == nullptr) throw Error(Fault::kLoader, "load", origin.path, LoaderText());
  return std::shared_ptr<Image>(new Image(std::move(origin), handle, nullptr));
}

std::shared_ptr<Image> Image::Reopen(ImageOrigin origin, const std::string& loader_name, int mode) {
  void* handle = dlopen(loader_name.c_str(), mode | RTLD_NOLOAD);
  if (handle == nullptr) throw Error(Fault::kLoader, "load", origin.path, LoaderText());
  return std::shared_ptr<Image>(new Image(std::move(origin), handle, nullptr));
}

Image::Image(ImageOrigin origin, void* handle, std::shared_ptr<Snapshot> snapshot)
    : snapshot_(std::move(snapshot)), handle_(handle), record_(std::make_shared<LoadedImage>()) {
  link_map* map = nullptr;
  if (dlinfo(handle_, RTLD_DI_LINKMAP, &map) != 0) {
    const std::string text = LoaderText();
    dlclose(handle_);
    throw Error(Fault::kLoader, "load", origin.path, text);
  }
  record_->origin = std::move(origin);
  // What the loader calls it, not what we asked for: it may have found an image that was there
  // before.
  record_->loader_name = map->l_name;
  record_->base = map->l_addr;
  AddLoadedImage(record_);
}

Image::~Image() {
  if (handle_ == nullptr) return;
  if (record_->origin.may_unmap) {
    Close();
  } else {
    Keep({{"kept", "its handle was dropped without being closed"}});
  }
}

void Image::FindSymbols(const std::vector<std::string>& names) {
  found_.reserve(names.size());
  for (const std::string& name : names) found_.push_back(Address(name));
}

std::optional<void*> Image::Symbol(const std::string& name) const {
  void* address = dlsym(handle_, name.c_str());
  if (address != nullptr) return address;
  dlerror();  // may have the text of an earlier failure
  address = dlsym(handle_, name.c_str());
  if (address == nullptr && dlerror() != nullptr) return std::nullopt;
  return address;
}

std::vector<RetainReason> Image::Close() {
  dlclose(std::exchange(handle_, nullptr));
  snapshot_.reset();
  if (!IsLoaded(record_->loader_name)) {
    RemoveLoadedImage(*record_);
    return {};
  }
  if (IsShared(*record_)) {
    RemoveLoadedImage(*record_);
    return {{"opened-elsewhere", "another handle of soswap has the same image"}};
  }
  auto reasons = WhyStillMapped(record_->origin.unload, record_->loader_name,
                                record_->loader_name != record_->origin.path);
  if (reasons.front().code == "opened-elsewhere") {
    RemoveLoadedImage(*record_);  // whoever has it open answers for it
  } else {
    MarkRetained(*record_, reasons);
  }
  return reasons;
}

void Image::Keep(std::vector<RetainReason> reasons) {
  handle_ = nullptr;
  snapshot_.reset();
  MarkRetained(*record_, std::move(reasons));
}

}  // namespace soswap
