#include "core/life/hook_log.h"

#include <sys/types.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <iterator>
#include <mutex>
#include <utility>

#include "core/base/this_thread.h"

namespace soswap {
namespace {

constexpr size_t kMost = 1000;

struct Written {
  pid_t thread;
  HookLine line;
};

// One for the process: what a thread that has ended left here goes with time.
struct HookLog {
  std::mutex mutex;
  std::deque<Written> lines;
  std::atomic<bool> any = false;
};

HookLog& TheHookLog() {
  static auto* log = new HookLog();  // code of a library may run at the end of the process
  return *log;
}

}  // namespace

void WriteHookLine(HookLine line) {
  HookLog& log = TheHookLog();
  const std::lock_guard lock(log.mutex);
  if (log.lines.size() == kMost) log.lines.pop_front();
  log.lines.push_back({ThisThread(), std::move(line)});
  log.any.store(true, std::memory_order_relaxed);
}

std::vector<HookLine> TakeHookLines() {
  std::vector<HookLine> taken;
  HookLog& log = TheHookLog();
  if (!log.any.load(std::memory_order_relaxed)) return taken;
  const pid_t thread = ThisThread();
  const std::lock_guard lock(log.mutex);
  std::deque<Written> others;
  for (Written& each : log.lines) {
    if (each.thread == thread) {
      taken.push_back(std::move(each.line));
    } else {
      others.push_back(std::move(each));
    }
  }
  log.lines = std::move(others);
  log.any.store(!log.lines.empty(), std::memory_order_relaxed);
  return taken;
}

}  // namespace soswap
