#pragma once

#include <memory>
#include <string>

#include "core/image/image.h"
#include "core/resolve/inspected_snapshot.h"

namespace soswap {

// How an image is loaded. Whoever keeps it can load the image again.
struct ImageRequest {
  // What the loader maps.
  enum class Mapping { kSnapshot, kFile };

  std::shared_ptr<InspectedSnapshot> inspected;
  Mapping mapping;
  int mode;  // of dlopen(3)
  ImageOrigin origin;

  // Any thread. Throws Error.
  std::shared_ptr<Image> Open() const {
    if (mapping == Mapping::kFile) return Image::OpenDirect(origin, mode);
    return Image::Open(origin, inspected->snapshot, inspected->elf.facts(), mode);
  }

  // Takes the image that the loader still has under this name. Any thread. Throws Error.
  std::shared_ptr<Image> Reopen(const std::string& loader_name) const {
    return Image::Reopen(origin, loader_name, mode);
  }
};

}  // namespace soswap
