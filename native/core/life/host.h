#pragma once

// soswap.h as the host reads it: what a library says of itself is left out.
#define SOSWAP_NO_ABI
#include "include/soswap.h"
