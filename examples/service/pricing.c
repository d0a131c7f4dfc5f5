/* A price list. Each build has a discount of its own: cc -DDISCOUNT=10 ... */
#include <stdint.h>

double quote(double base, uint32_t count) { return base * count * (100 - DISCOUNT) / 100; }

/* The same by many small steps, as a slow model would: it runs for some tenths of a millisecond. */
double simulate(double base, uint32_t count) {
  const uint32_t steps = 1u << 17;
  double sum = 0;
  for (volatile uint32_t step = 0; step < steps; step++) sum += quote(base, count);
  return sum / steps;
}
