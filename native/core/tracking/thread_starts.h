#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace soswap {

// How a thread of the process began.
struct ThreadStart {
  pid_t thread = 0;
  bool known = false;      // the rest is what the C library has noted
  uintptr_t function = 0;  // what pthread_create(3) was given; 0 for the main thread
  uintptr_t argument = 0;
  // What the argument points to, where that can be read: a wrapper keeps there what it calls.
  std::array<uintptr_t, 16> at_argument{};
};

// The threads of the process, but for the calling one. Those that start or end meanwhile may be
// missing. One whose beginning cannot be read is in the list, as not known. Asks the kernel for the
// descriptor that the C library keeps for each thread (get_robust_list(2)), and reads that through
// /proc/self/mem, where memory that a thread has just freed is an error and no crash; takes about
// 10 µs for each, and a millisecond more for one that has none, or up to 50 where one has not run
// yet. Where in the descriptor the function lies, the first call learns from a thread that it
// starts. Any thread.
std::vector<ThreadStart> LookAtThreads();

// As the kernel has it, for messages: its number and the name that it may have.
std::string DescribeThread(pid_t thread);

}  // namespace soswap
