#include "core/base/loader_name.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <cstdint>

#include "core/base/error.h"

namespace soswap {

namespace {

constexpr int kCopyBits = 16;
constexpr uint64_t kCopyMask = (1 << kCopyBits) - 1;
constexpr int kDigitBits = 4;
constexpr uint64_t kDigitMask = (1 << kDigitBits) - 1;

std::atomic<uint64_t> next_number{1};  // process-wide

// Keeps two copies of this addon in one process apart.
uint64_t NumberOfCopy() noexcept {
  constexpr int kPageBits = 12;
  return (reinterpret_cast<uintptr_t>(&next_number) >> kPageBits) & kCopyMask;
}

// The number of this process in the /proc that was last seen; 0: none. It is not that of getpid(2)
// where /proc belongs to an outer PID namespace, and getpid(2) may be another process there.
// Process-wide.
std::atomic<pid_t> number_in_proc{0};

// 0 where /proc is missing, or does not show this process.
pid_t ReadNumberInProc() noexcept {
  char text[32] = {};
  const ssize_t size = readlink("/proc/self", text, sizeof text - 1);
  pid_t number = 0;
  if (size > 0) std::from_chars(text, text + size, number);
  return number;
}

std::string Descriptors() {
  pid_t number = number_in_proc.load(std::memory_order_relaxed);
  if (number == 0) {
    number = ReadNumberInProc();
    number_in_proc.store(number, std::memory_order_relaxed);
  }
  return "/proc/" + std::to_string(number) + "/fd/";
}

// The number under which a /proc was seen to lead to a file of this process. Process-wide. The look
// at /proc/self takes a third of the time of a look at the file.
std::atomic<pid_t> proven_number{0};

bool LeadsToFile(int descriptor) {
  struct stat expected {};
  struct stat found {};
  return fstat(descriptor, &expected) == 0 &&
         stat((Descriptors() + std::to_string(descriptor)).c_str(), &found) == 0 &&
         found.st_dev == expected.st_dev && found.st_ino == expected.st_ino;
}

}  // namespace

void AssertNamesLead(int descriptor, const std::string& subject) {
  const pid_t number = ReadNumberInProc();
  number_in_proc.store(number, std::memory_order_relaxed);  // it may be another /proc now
  if (number != 0 && number == proven_number.load(std::memory_order_relaxed)) return;
  if (number != 0 && LeadsToFile(descriptor)) {
    proven_number.store(number, std::memory_order_relaxed);
    return;
  }
  throw Error(
      Fault::kNoProc, "load a private copy of", subject,
      "the loader reaches the copy through /proc, which is not mounted here, or shows other "
      "processes; mount it, or use image: 'direct'");
}

std::string NewLoaderName(int descriptor) {
  uint64_t number =
      next_number.fetch_add(1, std::memory_order_relaxed) << kCopyBits | NumberOfCopy();
  // Not /proc/self: a debugger would look the name up in its own process, and gdb hangs on it.
  std::string name = Descriptors();
  // The path spells the digits of the number, the lowest first: as many "/" as the digit counts,
  // then "./". The kernel ignores both, and takes longer for the dots.
  for (; number != 0; number >>= kDigitBits) name.append(number & kDigitMask, '/') += "./";
  return name + std::to_string(descriptor);
}

uint64_t NumberOfLoaderName(std::string_view name) noexcept {
  constexpr std::string_view kMiddle = "/fd/";
  const size_t middle = name.find(kMiddle);
  if (!IsLoaderNameOfDescriptor(name) || middle == std::string_view::npos) return 0;
  std::string_view rest = name.substr(middle + kMiddle.size());
  uint64_t number = 0;
  for (int bit = 0; bit < 64; bit += kDigitBits) {
    const size_t digit = rest.find_first_not_of('/');
    if (digit > kDigitMask || !rest.substr(digit).starts_with("./")) break;
    number |= uint64_t{digit} << bit;
    rest.remove_prefix(digit + 2);
  }
  return (number & kCopyMask) == NumberOfCopy() ? number : 0;
}

}  // namespace soswap
