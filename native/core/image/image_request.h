#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/image/image.h"
#include "core/resolve/inspected_snapshot.h"

namespace soswap {

// How an image is loaded.
struct ImageRequest {
  // What the loader maps.
  enum class Mapping {
    kSnapshot,
    kFile,
    kLoaded,  // nothing: a part of the C library is taken as the process has it
  };

  std::shared_ptr<InspectedSnapshot> inspected;
  Mapping mapping;
  int mode;  // of dlopen(3)
  ImageOrigin origin;
  // See Image::Open(); only with kSnapshot. In an exchange, an empty name means the image that
  // another part opens from the copy that provides the dependency.
  std::vector<std::string> providers;

  // Any thread. Throws Error.
  std::shared_ptr<Image> Open() const {
    switch (mapping) {
      case Mapping::kFile:
        return Image::OpenDirect(origin, inspected, mode);
      case Mapping::kLoaded:
        return Image::OpenLoaded(origin, inspected, mode);
      case Mapping::kSnapshot:
        break;
    }
    return Image::Open(origin, inspected, mode, providers);
  }
};

}  // namespace soswap
