#pragma once

#include <fcntl.h>

#include <cerrno>
#include <csignal>

namespace soswap {

// A lease of fcntl(2) F_SETLEASE, which ends with this object. Only the file's owner and root may
// take one. The kernel grants F_RDLCK unless a process has the file open for writing, and F_WRLCK
// unless another open file leads to it. A process that wants to open the file so waits until the
// lease ends.
class Lease final {
 public:
  Lease(int fd, int type) noexcept : fd_(fd) {
    // The kernel signals us when a process waits. SIGURG is ignored by default; SIGIO, which the
    // kernel would send otherwise, ends the process.
    if (fcntl(fd_, F_SETSIG, SIGURG) != 0) return;
    held_ = fcntl(fd_, F_SETLEASE, type) == 0;
    refused_ = !held_ && errno == EAGAIN;
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() {
    if (held_) fcntl(fd_, F_SETLEASE, F_UNLCK);
  }

  bool held() const noexcept { return held_; }
  // The file is open in the way that the lease forbids, or its file system refuses leases so.
  bool refused() const noexcept { return refused_; }

 private:
  int fd_;
  bool held_ = false;
  bool refused_ = false;
};

}  // namespace soswap
