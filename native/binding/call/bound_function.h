#pragma once

#include <node_api.h>

#include <memory>

#include "binding/call/slots.h"

namespace soswap {

// Makes the JavaScript function that calls what `slot` points at when it is called. The function
// keeps `table`, which owns the slot, alive. Null, with an exception pending, if it cannot be made.
napi_value CreateBoundFunction(napi_env env, std::shared_ptr<SlotTable> table, const Slot* slot);

}  // namespace soswap
