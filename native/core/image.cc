#include "image.h"

#include <dlfcn.h>
#include <link.h>

#include <utility>

#include "error.h"

namespace soswap {
namespace {

// dlerror(3) keeps one text per thread, and the next dl call replaces it: read it at once.
std::string LoaderText() {
  const char* text = dlerror();
  return text != nullptr ? text : "the loader gives no reason";
}

}  // namespace

std::shared_ptr<Image> Image::Open(const std::string& path, std::shared_ptr<Snapshot> snapshot,
                                   int mode) {
  std::string name = snapshot->NewLoaderName();
  return std::shared_ptr<Image>(new Image(path, std::move(name), std::move(snapshot), mode));
}

std::shared_ptr<Image> Image::OpenDirect(const std::string& path, int mode) {
  return std::shared_ptr<Image>(new Image(path, path, nullptr, mode));
}

Image::Image(std::string path, std::string loader_name, std::shared_ptr<Snapshot> snapshot,
             int mode)
    : path_(std::move(path)), snapshot_(std::move(snapshot)) {
  handle_ = dlopen(loader_name.c_str(), mode);
  if (handle_ == nullptr) {
    std::string text = LoaderText();
    // The loader knows the copy; the reader knows the file.
    const auto at = text.find(loader_name);
    if (at != std::string::npos) text.replace(at, loader_name.size(), path_);
    throw Error(Fault::kLoader, "load", path_, text);
  }
  link_map* map = nullptr;
  if (dlinfo(handle_, RTLD_DI_LINKMAP, &map) != 0) {
    const std::string text = LoaderText();
    dlclose(handle_);
    throw Error(Fault::kLoader, "load", path_, text);
  }
  // What the loader calls it, not what we asked for: it may have found an image that was there
  // before.
  loader_name_ = map->l_name;
  base_ = map->l_addr;
}

Image::~Image() {
  if (handle_ != nullptr) dlclose(handle_);
}

std::optional<void*> Image::Symbol(const std::string& name) const {
  dlerror();
  void* address = dlsym(handle_, name.c_str());
  if (address == nullptr && dlerror() != nullptr) return std::nullopt;
  return address;
}

bool Image::Close() {
  dlclose(std::exchange(handle_, nullptr));
  snapshot_.reset();
  return !IsLoaded(loader_name_);
}

void Image::Keep() noexcept { handle_ = nullptr; }

bool Image::IsLoaded(const std::string& loader_name) {
  return dl_iterate_phdr(
             [](dl_phdr_info* info, size_t, void* name) {
               return *static_cast<const std::string*>(name) == info->dlpi_name ? 1 : 0;
             },
             const_cast<std::string*>(&loader_name)) != 0;
}

}  // namespace soswap
