#pragma once

#include <memory>

#include "core/image/image.h"
#include "core/resolve/inspected_snapshot.h"

namespace soswap {

// How an image is loaded.
struct ImageRequest {
  // What the loader maps.
  enum class Mapping { kSnapshot, kFile };

  std::shared_ptr<InspectedSnapshot> inspected;
  Mapping mapping;
  int mode;  // of dlopen(3)
  ImageOrigin origin;

  // Any thread. Throws Error.
  std::shared_ptr<Image> Open() const {
    return (mapping == Mapping::kFile ? Image::OpenDirect : Image::Open)(origin, inspected, mode);
  }
};

}  // namespace soswap
