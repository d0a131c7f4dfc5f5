// One plug-in: a tax rate. It needs libcore.so.

#include "core.h"

#ifndef RATE
#define RATE 10
#endif

double tax(double amount) { return core_round(amount * RATE / 100); }

// The release of the core that this plug-in is bound to.
unsigned tax_core(void) { return core_release(); }
