#include "core/image/loaded_images.h"

#include <link.h>

#include <algorithm>
#include <mutex>
#include <utility>

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

}  // namespace

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
