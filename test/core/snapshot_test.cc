#include "core/copy/snapshot.h"

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/file_descriptor.h"
#include "core/elf/edit.h"
#include "core/elf/file.h"
#include "small_libraries.h"

using soswap::ElfFile;
using soswap::Error;
using soswap::Fault;
using soswap::FileDescriptor;
using soswap::Snapshot;
using soswap::test::Workshop;
using soswap::test::WriteText;

namespace {

constexpr auto kMemory = soswap::Storage::kMemory;
constexpr auto kPrivateFile = soswap::Storage::kPrivateFile;

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

// The descriptors of files in memory whose name begins so.
size_t MemoryFiles(const std::string& name) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
    if (target.starts_with("/memfd:" + name)) ++count;
  }
  return count;
}

ino_t InodeOf(const Snapshot& snapshot) {
  struct stat status {};
  return fstat(snapshot.descriptor(), &status) == 0 ? status.st_ino : 0;
}

}  // namespace

TEST_CASE("a snapshot has the bytes of the file, and keeps them") {
  const Workshop workshop;
  const std::string path = workshop / "file";
  for (const auto storage : {kMemory, kPrivateFile}) {
    WriteText(path, "before");
    const auto snapshot = Snapshot::Take(path, storage);
    WriteText(path, "after!");
    CHECK(TextOf(*snapshot) == "before");
  }
}

TEST_CASE("an empty file has an empty snapshot") {
  const Workshop workshop;
  WriteText(workshop / "empty", "");
  CHECK(Snapshot::Take(workshop / "empty", kMemory)->bytes().empty());
}

TEST_CASE("an absent file, and each path that is no file, has its fault") {
  const Workshop workshop;
  REQUIRE(mkfifo((workshop / "fifo").c_str(), 0600) == 0);
  CHECK(FaultOf(workshop / "absent") == Fault::kNotFound);
  CHECK(FaultOf(workshop.path()) == Fault::kNotAFile);
  CHECK(FaultOf(workshop / "fifo") == Fault::kNotAFile);
  CHECK(FaultOf("/dev/null") == Fault::kNotAFile);
}

TEST_CASE("a snapshot cannot be written, cut or mapped for writing") {
  const Workshop workshop;
  WriteText(workshop / "file", "contents");
  const auto snapshot = Snapshot::Take(workshop / "file", kMemory);
  const std::string name = "/proc/self/fd/" + std::to_string(snapshot->descriptor());
  const FileDescriptor file(open(name.c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(file.valid());
  CHECK(write(file.get(), "x", 1) == -1);
  CHECK(ftruncate(file.get(), 0) == -1);
  CHECK(ftruncate(file.get(), 4096) == -1);
  CHECK(mmap(nullptr, 1, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0) == MAP_FAILED);
  CHECK(TextOf(*snapshot) == "contents");
}

TEST_CASE("a writer is noticed while it has the file open") {
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

TEST_CASE("the memory of a loaded snapshot is reused once no process has it") {
  const Workshop workshop;
  WriteText(workshop / "file", std::string(10'000, 'a'));
  const auto take = [&] { return Snapshot::Take(workshop / "file", kMemory); };
  const auto kept = take();  // without any live snapshot nothing is kept
  take();
  CHECK(MemoryFiles("file") == 1);  // never had a name: it was only looked at

  auto loaded = take();
  const FileDescriptor file(open(loaded->NewLoaderName().c_str(), O_RDONLY | O_CLOEXEC));
  REQUIRE(file.valid());
  void* mapped = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file.get(), 0);
  REQUIRE(mapped != MAP_FAILED);
  loaded.reset();
  CHECK(MemoryFiles("file") == 2);  // kept and file: it is open and mapped

  loaded = take();
  const std::string name = loaded->NewLoaderName();
  void* image = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE,
                     FileDescriptor(open(name.c_str(), O_RDONLY | O_CLOEXEC)).get(), 0);
  REQUIRE(image != MAP_FAILED);
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pause();
    _exit(0);
  }
  munmap(image, 4096);
  loaded.reset();
  CHECK(MemoryFiles("file") == 2);  // the child still runs what it has inherited
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);

  loaded = take();
  static_cast<void>(loaded->NewLoaderName());
  const int descriptor = loaded->descriptor();
  loaded.reset();
  CHECK(MemoryFiles("file") == 3);
  WriteText(workshop / "file", std::string(9'000, 'b'));
  const auto next = take();
  CHECK(next->descriptor() == descriptor);
  CHECK(MemoryFiles("file") == 3);
  CHECK(TextOf(*next) == std::string(9'000, 'b'));
  CHECK(static_cast<int>(next->bytes().data()[9'000]) == 0);  // as behind the end of any file
  const std::string path = "/proc/self/fd/" + std::to_string(next->descriptor());
  const FileDescriptor writer(open(path.c_str(), O_RDWR | O_CLOEXEC));
  CHECK(write(writer.get(), "x", 1) == -1);
  CHECK(TextOf(*kept) == std::string(10'000, 'a'));
}

TEST_CASE("a process that opens a copy all the time does no harm") {
  const Workshop workshop;
  WriteText(workshop / "file", "contents");
  const auto take = [&] {
    auto snapshot = Snapshot::Take(workshop / "file", kMemory);
    const std::string name = snapshot->NewLoaderName();
    return std::pair(std::move(snapshot), name);
  };
  const auto kept = take();
  const std::string name = take().second;  // the name of the memory that is used again
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
      const int file = open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
      if (file >= 0) close(file);
    }
  }
  // While it is open, its memory is not used again, and other memory takes its place and its
  // number.
  size_t again = 0;
  size_t refused = 0;
  ino_t before = 0;
  for (int round = 0; round < 30'000 || ((again == 0 || refused == 0) && round < 300'000);
       ++round) {
    const ino_t now = InodeOf(*take().first);
    ++(now == before ? again : refused);
    before = now;
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  CHECK(again > 0);
  CHECK(refused > 0);
  CHECK(TextOf(*kept.first) == "contents");
}

TEST_CASE("memory kept for the next snapshot is limited, and freed with the last one") {
  const Workshop workshop;
  std::vector<std::shared_ptr<Snapshot>> snapshots;
  constexpr int kMany = 100;
  for (int number = 0; number < kMany; ++number) {
    const std::string path = workshop / ("file" + std::to_string(number));
    WriteText(path, "contents");
    snapshots.push_back(Snapshot::Take(path, kMemory));
    static_cast<void>(snapshots.back()->NewLoaderName());
  }
  while (snapshots.size() > 1) snapshots.pop_back();
  CHECK(MemoryFiles("file") == 1 + 64);
  snapshots.clear();
  CHECK(MemoryFiles("file") == 0);
}

TEST_CASE("a library is parsed, and loaded, from its loadable parts as from the whole file") {
  const Workshop workshop;
  std::string functions;
  for (int number = 0; number < 50; ++number) {
    functions += "int f" + std::to_string(number) + "(int a) { return a * a + a; }\n";
  }
  const auto path = workshop.Compile("lib.so", functions, "-g3 -fno-omit-frame-pointer");
  const auto copy = Snapshot::Take(path, kMemory);
  const auto whole = Snapshot::Take(path, kMemory, Snapshot::Extent::kWhole);
  REQUIRE(whole->whole());
  REQUIRE_FALSE(copy->whole());
  REQUIRE_FALSE(copy->SameBytesAs(*whole));
  CHECK(copy->SameBytesAs(*Snapshot::Take(path, kPrivateFile)));

  const auto ranges = soswap::LoadableRanges(whole->bytes().first(4096), whole->bytes().size());
  CHECK(soswap::SizeOf(ranges) < whole->bytes().size());
  // What nobody copied takes no memory.
  const uint64_t page = sysconf(_SC_PAGESIZE);
  CHECK(whole->held() == (whole->bytes().size() + page - 1) / page * page);
  CHECK(copy->held() <= soswap::SizeOf(ranges) + page);
  CHECK(copy->held() < whole->held());
  std::vector<std::byte> poisoned(whole->bytes().size(), std::byte{0xa5});
  for (const auto& range : ranges) {
    std::copy_n(whole->bytes().begin() + static_cast<std::ptrdiff_t>(range.offset), range.size,
                poisoned.begin() + static_cast<std::ptrdiff_t>(range.offset));
  }
  const ElfFile one = ElfFile::Parse(whole->bytes(), path);
  const ElfFile other = ElfFile::Parse(poisoned, path);
  CHECK(one.Exports().size() == other.Exports().size());
  CHECK(one.Exports().size() >= 50);
  CHECK(one.Imports().size() == other.Imports().size());
  CHECK(one.facts().build_id == other.facts().build_id);
  CHECK(one.facts().memory_size == other.facts().memory_size);

  soswap::DropSectionHeaders(poisoned);
  WriteText(path, std::string(reinterpret_cast<const char*>(poisoned.data()), poisoned.size()));
  void* handle = dlopen(path.c_str(), RTLD_NOW);
  REQUIRE(handle != nullptr);
  CHECK(reinterpret_cast<int (*)(int)>(dlsym(handle, "f49"))(2) == 6);
  dlclose(handle);
}

TEST_CASE("a snapshot has a new loader name each time, and each leads to it") {
  const Workshop workshop;
  WriteText(workshop / "file", "contents");
  const auto snapshot = Snapshot::Take(workshop / "file", kMemory);
  const std::string first = snapshot->NewLoaderName();
  const std::string second = snapshot->NewLoaderName();
  CHECK(first != second);
  CHECK(soswap::test::ReadText(first).starts_with("contents"));
  CHECK(soswap::test::ReadText(second).starts_with("contents"));
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

TEST_CASE("links to the file that come and go during the copy change nothing") {
  const Workshop workshop;
  const std::string path = workshop / "file";
  const std::string link = workshop / "link";
  const std::string text(size_t{4} << 20, 'x');
  WriteText(path, text);
  std::atomic<bool> done{false};
  std::atomic<int> links{0};
  std::thread linker([&] {
    while (!done) {
      ::link(path.c_str(), link.c_str());
      unlink(link.c_str());
      ++links;
    }
  });
  int copies = 0;
  for (; copies < 50 || links < 50; ++copies) {
    if (TextOf(*Snapshot::Take(path, kMemory)) != text) break;
  }
  done = true;
  linker.join();
  CHECK(copies >= 50);
  CHECK(links >= 50);
}
