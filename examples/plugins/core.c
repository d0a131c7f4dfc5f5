#include "core.h"

#ifndef RELEASE
#define RELEASE 1
#endif

// Of every second release: to whole cents, or down to whole units.
double core_round(double amount) {
  const double unit = RELEASE % 2 == 1 ? 0.01 : 1;
  return (double)(long)(amount / unit + 0.5 * (RELEASE % 2)) * unit;
}

unsigned core_release(void) { return RELEASE; }
