#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace soswap {

// The kinds of failure that a caller can tell apart. The wraps turn each into one ERR_SOSWAP_…
// code.
enum class Fault {
  kNotFound,           // no such file
  kNotAFile,           // a directory, a FIFO, a device
  kUnreadable,         // the system refused to open or read it
  kChangedWhileRead,   // a process was writing the file while it was copied
  kTruncated,          // the file is shorter than its own headers say
  kNotElf,             // no ELF magic
  kWrongMachine,       // ELF for another processor, word size or byte order
  kNotSharedObject,    // ELF, but a program, an object file or a core dump
  kMalformed,          // ELF whose tables contradict each other
  kNoexec,             // on a file system that is mounted noexec
  kNoProc,             // /proc does not show this process
  kSharedName,         // the name of a dependency cannot be changed in the copy
  kMissingDependency,  // a shared object that it needs is missing or unusable
  kStillLoaded,        // an older image is still loaded under the same name
  kLoader,             // dlopen(3) or dlsym(3) failed
  kSystem,             // a system call failed for a reason that is not the file
  kRefusedByLibrary,   // a hook of the library refused
  kHookThrew,          // a hook of the library threw a C++ exception
  kHostAbi,            // the library was compiled with another soswap.h
  kKeptVariable,       // a variable cannot be carried over
  kStateTooLarge,      // the state that a library saved is over the limit
};

// The one exception type of the core: the operation that failed, its subject, and the reason.
class Error final : public std::runtime_error {
 public:
  // `error_number` is the errno that caused it; 0 if none did.
  Error(Fault fault, const std::string& operation, std::string subject, const std::string& reason,
        int error_number = 0)
      : std::runtime_error("cannot " + operation + " '" + Shortened(subject) + "': " + reason),
        fault_(fault),
        error_number_(error_number),
        subject_(std::move(subject)) {}

  Fault fault() const noexcept { return fault_; }
  int error_number() const noexcept { return error_number_; }
  const std::string& subject() const noexcept { return subject_; }

 private:
  static std::string Shortened(const std::string& subject) {
    constexpr size_t kMost = 300;
    return subject.size() <= kMost ? subject : subject.substr(0, kMost) + "…";
  }

  Fault fault_;
  int error_number_;
  std::string subject_;
};

}  // namespace soswap
