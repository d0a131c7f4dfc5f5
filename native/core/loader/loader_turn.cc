#include "core/loader/loader_turn.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <semaphore>

namespace soswap {
namespace {

// std::timed_mutex needs a newer C library.
std::binary_semaphore& TheTurn() {
  static auto* turn = new std::binary_semaphore(1);  // never destroyed: exit(3) asks for it
  return *turn;
}

// How often this thread has the turn.
thread_local int depth = 0;

}  // namespace

LoaderTurn::LoaderTurn() noexcept : taken_(true) {
  if (depth++ == 0) TheTurn().acquire();
}

LoaderTurn::LoaderTurn(std::chrono::milliseconds patience) noexcept
    : taken_(depth > 0 || TheTurn().try_acquire_for(patience)) {
  if (taken_) ++depth;
}

LoaderTurn::~LoaderTurn() {
  if (taken_ && --depth == 0) TheTurn().release();
}

void ExitWithoutLoader() noexcept {
#ifdef __GLIBC__
  static const int registered = on_exit(
      [](int status, void*) {
        const LoaderTurn turn(std::chrono::milliseconds(100));
        if (turn.taken()) return;
        std::fflush(stdout);
        _exit(status);
      },
      nullptr);
  static_cast<void>(registered);
#endif
}

}  // namespace soswap
