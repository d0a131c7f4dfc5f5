// What the core offers to plug-ins.

#pragma once

// How the core rounds: every plug-in must see the same way.
double core_round(double amount);

// Which core this is.
unsigned core_release(void);
