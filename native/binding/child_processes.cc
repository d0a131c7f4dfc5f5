#include "binding/child_processes.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace soswap {
namespace {

// Whether it is a child of this process that nobody has waited for: its number is not another's.
bool IsOurs(pid_t child) {
  siginfo_t status{};
  return waitid(P_PID, static_cast<id_t>(child), &status, WEXITED | WNOHANG | WNOWAIT) == 0;
}

// The kernel may hold a killed process back while a device does not answer.
void Reap(pid_t child) {
  constexpr int kMostWaits = 1000;
  constexpr useconds_t kMillisecond = 1000;
  for (int waits = 0; waits < kMostWaits; ++waits) {
    if (waitpid(child, nullptr, WNOHANG) != 0) return;
    usleep(kMillisecond);
  }
}

}  // namespace

// libuv waits for its children on the same thread: none can end between these calls unseen.
void ChildProcesses::EndAll() noexcept {
  for (const pid_t child : children_) {
    if (!IsOurs(child)) continue;
    kill(-child, SIGKILL);
    kill(child, SIGKILL);  // it may not lead its group yet
    Reap(child);
  }
  children_.clear();
}

}  // namespace soswap
