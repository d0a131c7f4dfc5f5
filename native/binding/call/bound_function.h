#pragma once

#include <node_api.h>

#include <memory>

#include "binding/call/bound_table.h"

namespace soswap {

// Makes the JavaScript function that calls what `slot` points at when it is called. The function
// keeps `table`, which owns the slot, alive. Null, with an exception pending, if it cannot be made.
napi_value CreateBoundFunction(napi_env env, std::shared_ptr<BoundTable> table, const Slot* slot);

}  // namespace soswap
