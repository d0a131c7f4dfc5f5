#pragma once

#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

namespace soswap {

// As gettid(2) numbers it. Asks the system once for each thread.
inline pid_t ThisThread() noexcept {
  thread_local const auto number = static_cast<pid_t>(syscall(SYS_gettid));
  return number;
}

}  // namespace soswap
