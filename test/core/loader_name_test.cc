#include "core/base/loader_name.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "core/base/unnamed_file.h"
#include "core/loader/stub_object.h"

using soswap::CreateUnnamedFile;
using soswap::FileUse;
using soswap::NewLoaderName;
using soswap::NumberOfLoaderName;
using soswap::Storage;
using soswap::StubObject;

TEST_CASE("a loader name is never given twice, whoever requests it, and leads to its file") {
  constexpr size_t kThreads = 4;
  constexpr size_t kNames = 500;
  const auto file = CreateUnnamedFile("file", Storage::kMemory, FileUse::kData);
  std::vector<std::vector<std::string>> names(kThreads);
  std::vector<std::thread> threads;
  for (auto& list : names) {
    threads.emplace_back([&] {
      for (size_t count = 0; count < kNames; count += 2) {
        // A stub object has a descriptor whose number comes again and again.
        const StubObject stub({}, RTLD_LAZY);
        CHECK(stub.loaded());
        list.push_back(stub.loader_name());
        list.push_back(NewLoaderName(file.get()));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  std::unordered_set<std::string> different;
  for (const auto& list : names) different.insert(list.begin(), list.end());
  CHECK(different.size() == kThreads * kNames);
  for (const auto& name : different) CHECK(soswap::IsLoaderNameOfDescriptor(name));
  CHECK_FALSE(soswap::IsLoaderNameOfDescriptor("/usr/lib/libz.so"));

  std::unordered_set<uint64_t> numbers;
  for (const auto& name : different) numbers.insert(NumberOfLoaderName(name));
  CHECK(numbers.size() == different.size());
  for (const char* other :
       {"", "/proc/", "/proc/1/fd", "/proc/1/fd/", "/proc/1/fd/3", "/proc/1/fd/.",
        "/proc/1/fd/./././3", "/usr/lib/libz.so", "linux-vdso.so.1"}) {
    numbers.insert(NumberOfLoaderName(other));
  }
  CHECK(numbers.contains(0));
  CHECK(numbers.size() == different.size() + 1);

  REQUIRE(write(file.get(), "text", 4) == 4);
  const soswap::FileDescriptor opened(open(names[0][1].c_str(), O_RDONLY | O_CLOEXEC));
  std::string text(4, '?');
  CHECK(read(opened.get(), text.data(), text.size()) == 4);
  CHECK(text == "text");
}
