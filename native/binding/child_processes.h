#pragma once

#include <sys/types.h>

#include <unordered_set>

namespace soswap {

// Child processes that end with the thread that started them. A worker may be terminated before its
// JavaScript gets to ending them. Used on that thread.
class ChildProcesses final {
 public:
  ChildProcesses() = default;
  ChildProcesses(const ChildProcesses&) = delete;
  ChildProcesses& operator=(const ChildProcesses&) = delete;
  ~ChildProcesses() = default;

  // Each leads a process group of its own.
  void Add(pid_t child) { children_.insert(child); }
  void Remove(pid_t child) { children_.erase(child); }

  // Kills them with their process groups, and leaves no zombie.
  void EndAll() noexcept;

 private:
  std::unordered_set<pid_t> children_;
};

}  // namespace soswap
