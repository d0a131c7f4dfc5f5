#include "core/snapshot.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "core/error.h"
#include "core/file_descriptor.h"
#include "small_libraries.h"

using soswap::Error;
using soswap::Fault;
using soswap::FileDescriptor;
using soswap::Snapshot;
using soswap::test::Workshop;
using soswap::test::WriteText;

namespace {

constexpr auto kMemory = Snapshot::Storage::kMemory;
constexpr auto kPrivateFile = Snapshot::Storage::kPrivateFile;

std::string TextOf(const Snapshot& snapshot) {
  const auto bytes = snapshot.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Fault FaultOf(const std::string& path) {
  try {
    Snapshot::Take(path, kMemory);
  } catch (const Error& error) {
    return error.fault();
  }
  FAIL("no error");
  return Fault::kSystem;
}

}  // namespace

TEST_CASE("a snapshot has the bytes of the file, and keeps them") {
  const Workshop workshop;
  const std::string path = workshop / "file";
  for (const auto storage : {kMemory, kPrivateFile}) {
    WriteText(path, "before");
    const auto snapshot = Snapshot::Take(path, storage);
    snapshot->Seal();
    WriteText(path, "after!");
    CHECK(TextOf(*snapshot) == "before");
  }
}

TEST_CASE("an empty file has an empty snapshot") {
  const Workshop workshop;
  WriteText(workshop / "empty", "");
  CHECK(Snapshot::Take(workshop / "empty", kMemory)->bytes().empty());
}

TEST_CASE("what is no file is told apart") {
  const Workshop workshop;
  REQUIRE(mkfifo((workshop / "fifo").c_str(), 0600) == 0);
  CHECK(FaultOf(workshop / "absent") == Fault::kNotFound);
  CHECK(FaultOf(workshop.path()) == Fault::kNotAFile);
  CHECK(FaultOf(workshop / "fifo") == Fault::kNotAFile);
  CHECK(FaultOf("/dev/null") == Fault::kNotAFile);
}

TEST_CASE("a sealed snapshot cannot be written, cut or mapped for writing") {
  const Workshop workshop;
  WriteText(workshop / "file", "contents");
  const auto snapshot = Snapshot::Take(workshop / "file", kMemory);
  snapshot->Seal();
  const std::string name = "/proc/self/fd/" + std::to_string(snapshot->descriptor());
  const FileDescriptor file(open(name.c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(file.valid());
  CHECK(write(file.get(), "x", 1) == -1);
  CHECK(ftruncate(file.get(), 0) == -1);
  CHECK(ftruncate(file.get(), 4096) == -1);
  CHECK(mmap(nullptr, 1, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0) == MAP_FAILED);
  CHECK(TextOf(*snapshot) == "contents");
}

TEST_CASE("a writer is seen for as long as it has the file open") {
  const Workshop workshop;
  const std::string path = workshop / "file";
  WriteText(path, "contents");
  {
    const FileDescriptor writer(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    CHECK(Snapshot::Take(path, kMemory)->open_for_writing());
  }
  CHECK_FALSE(Snapshot::Take(path, kMemory)->open_for_writing());
}

TEST_CASE("a snapshot never mixes two states of a file that is rewritten all the time") {
  const Workshop workshop;
  const std::string path = workshop / "file";
  constexpr size_t kSize = 300'000;
  WriteText(path, std::string(kSize, 'a'));
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (char letter = 'a'; !stop; letter = letter == 'z' ? 'a' : static_cast<char>(letter + 1)) {
      const std::string text(kSize, letter);
      const FileDescriptor file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
      if (pwrite(file.get(), text.data(), text.size(), 0) < 0) break;
    }
  });
  size_t taken = 0;
  size_t refused = 0;
  bool mixed = false;
  for (size_t tries = 0; tries < 300 || ((taken == 0 || refused == 0) && tries < 50'000); ++tries) {
    try {
      const auto snapshot = Snapshot::Take(path, kMemory);
      // Half of a write is what such a file really holds.
      if (snapshot->open_for_writing()) {
        ++refused;
        continue;
      }
      const std::string text = TextOf(*snapshot);
      mixed |= std::any_of(text.begin(), text.end(), [&](char each) { return each != text[0]; });
      ++taken;
    } catch (const Error& error) {
      CHECK(error.fault() == Fault::kChangedWhileRead);
      ++refused;
    }
  }
  stop = true;
  writer.join();
  CHECK_FALSE(mixed);
  CHECK(taken > 0);
  CHECK(refused > 0);  // otherwise the writer never came in between, and nothing was tested
}

TEST_CASE("a loader name never comes twice, and leads to the snapshot") {
  const Workshop workshop;
  WriteText(workshop / "file", "contents");
  constexpr size_t kThreads = 4;
  constexpr size_t kNames = 500;
  std::vector<std::vector<std::string>> names(kThreads);
  std::vector<std::thread> threads;
  for (auto& list : names) {
    threads.emplace_back([&list, &workshop] {
      for (size_t count = 0; count < kNames; ++count) {
        // The descriptor's number is the same again and again.
        list.push_back(Snapshot::Take(workshop / "file", kMemory)->NewLoaderName());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  std::unordered_set<std::string> different;
  for (const auto& list : names) different.insert(list.begin(), list.end());
  CHECK(different.size() == kThreads * kNames);

  const auto snapshot = Snapshot::Take(workshop / "file", kMemory);
  CHECK(soswap::test::ReadText(snapshot->NewLoaderName()) == "contents");
}

TEST_CASE("two snapshots of the same bytes are the same") {
  const Workshop workshop;
  WriteText(workshop / "one", "contents");
  WriteText(workshop / "two", "contents");
  WriteText(workshop / "three", "CONTENTS");
  const auto one = Snapshot::Take(workshop / "one", kMemory);
  CHECK(one->SameBytesAs(*Snapshot::Take(workshop / "two", kPrivateFile)));
  CHECK_FALSE(one->SameBytesAs(*Snapshot::Take(workshop / "three", kMemory)));
}
