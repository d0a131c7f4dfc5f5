#pragma once

#include <chrono>

namespace soswap {

// The turn of one thread of soswap to load and unload. The loader lets one thread at a time do so,
// with all constructors and destructors, which may take for ever; whoever comes meanwhile waits in
// dlopen(3) or dlclose(3). A thread that must not be held up asks for its turn here first, and does
// without it if it has to. A constructor that comes back to soswap on its own thread has the turn.
// Nobody waits for the turn who holds another lock of soswap.
class LoaderTurn final {
 public:
  // Waits for it, as dlopen(3) would. Any thread.
  LoaderTurn() noexcept;
  // Waits so long. Any thread.
  explicit LoaderTurn(std::chrono::milliseconds patience) noexcept;
  LoaderTurn(const LoaderTurn&) = delete;
  LoaderTurn& operator=(const LoaderTurn&) = delete;
  ~LoaderTurn();

  // Whether this thread has it.
  bool taken() const noexcept { return taken_; }

 private:
  bool taken_;
};

// Makes exit(3) end this process at once, with its status, while another thread has the turn:
// exit(3) waits for the loader too. Called once, or more often.
void ExitWithoutLoader() noexcept;

}  // namespace soswap
