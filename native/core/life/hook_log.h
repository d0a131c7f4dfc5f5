#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace soswap {

// A line that a hook of a library wrote.
struct HookLine {
  std::string path;
  uint32_t generation = 0;
  std::string text;
};

// Keeps the line for the JavaScript of this thread. Beyond 1,000 lines the oldest goes. Any thread.
void WriteHookLine(HookLine line);

// Takes the lines of this thread, the oldest first. Costs one load if no thread has any.
std::vector<HookLine> TakeHookLines();

}  // namespace soswap
