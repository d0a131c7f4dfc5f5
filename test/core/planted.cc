// Bugs on purpose, one for each kind that the tools must find: a tool that is silent about them
// says nothing by being silent about the core.
//
//   planted overflow | undefined | leak | race

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

namespace {

void Overflow() {
  char* volatile bytes = static_cast<char*>(std::calloc(8, 1));
  std::printf("%d\n", bytes[8]);
  std::free(bytes);
}

void Undefined() {
  volatile int most = INT_MAX;
  std::printf("%d\n", most + 1);
}

void Leak() {
  void* volatile lost = std::malloc(8);
  static_cast<void>(lost);
  lost = nullptr;
}

void Race() {
  int counter = 0;
  std::thread other([&] { ++counter; });
  ++counter;
  other.join();
  std::printf("%d\n", counter);
}

}  // namespace

int main(int count, char** arguments) {
  const std::string_view bug = count == 2 ? arguments[1] : "";
  if (bug == "overflow") Overflow();
  if (bug == "undefined") Undefined();
  if (bug == "leak") Leak();
  if (bug == "race") Race();
}
