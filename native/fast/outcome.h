#pragma once

#include <cstdint>

namespace soswap {

// How the last call of this thread ended that did not simply return: what it returned means nothing
// then. JavaScript reads it after every call and sets it back; lib/native/fast-addon.ts has the
// same numbers.
enum class Outcome : int32_t {
  kReturned,
  kUnavailable,  // the target has no address: nothing was called
  kException,    // a C++ exception ended the call; TakeExceptionText() has what it says
};

// Calls that go well do not come here.
void Report(Outcome outcome) noexcept;

// To be called in a handler of all exceptions: reports the one that is handled.
void ReportException();

}  // namespace soswap
