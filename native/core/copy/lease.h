#pragma once

#include <fcntl.h>

#include <cerrno>
#include <csignal>

namespace soswap {

// A lease of fcntl(2) F_SETLEASE, held until this object goes. Only the file's owner and root may
// ask for one. F_RDLCK is granted while nobody has the file open for writing, F_WRLCK while no
// other open file leads to it; who then wants to open it must wait until the lease ends.
class Lease final {
 public:
  Lease(int fd, int type) noexcept : fd_(fd) {
    // The kernel signals us when somebody waits. SIGURG is ignored by default, the usual SIGIO
    // would end the process.
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
  // Somebody has the file open in the way that the lease forbids.
  bool refused() const noexcept { return refused_; }

 private:
  int fd_;
  bool held_ = false;
  bool refused_ = false;
};

}  // namespace soswap
