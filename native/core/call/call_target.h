#pragma once

#include "core/base/call_count.h"

namespace soswap {

// What a call needs to know at the moment when it is made. native/fast, another binary, reads it
// too.
struct CallTarget {
  void* address;            // null: there is nothing to call
  CallCount* const* calls;  // where the calls in flight in the current image are counted
};

}  // namespace soswap
