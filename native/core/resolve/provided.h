#pragma once

#include <memory>
#include <string>

#include "core/loader/provided_name.h"

namespace soswap {

struct InspectedSnapshot;

// A dependency of a library that an image of another library is to be, by the name in DT_NEEDED.
struct Provided {
  std::string name;                             // in the file
  std::shared_ptr<const InspectedSnapshot> by;  // what the image is, or will be, opened from
  std::shared_ptr<const ProvidedName> as;       // the name in the copy; null before it is taken
};

}  // namespace soswap
