#include "core/resolve/dependency_file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "core/copy/source_file.h"
#include "core/elf/file.h"
#include "elf_bytes.h"
#include "small_libraries.h"

using soswap::DependencyFile;
using soswap::ElfFile;
using soswap::Error;
using soswap::Identify;
using soswap::IsYoung;
using soswap::OpenForReading;
using soswap::test::ElfBytes;
using soswap::test::Quoted;
using soswap::test::ReadText;
using soswap::test::Workshop;
using soswap::test::WriteText;

namespace {

constexpr int64_t kSecond = 1'000'000'000;

std::string Source(const std::string& function) {
  return "int " + function + "(void) { return 1; }\n";
}

// Waits until a change of the file would show in its time stamps.
void LetAge(const std::string& path) {
  while (IsYoung(Identify(OpenForReading(path).get(), path))) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void SetModified(const std::string& path, int64_t nanoseconds) {
  const timespec time{nanoseconds / kSecond, nanoseconds % kSecond};
  const timespec times[] = {time, time};
  REQUIRE(utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
}

bool Finds(const DependencyFile& file, const std::string& name, const std::string& version = "") {
  return file.symbols().Find(name, version).has_value();
}

}  // namespace

TEST_CASE("a file is read once until it changes") {
  const Workshop workshop;
  const std::string soname = "-Wl,-soname,libdep.so";
  const auto path = workshop.Compile("libdep.so", Source("first"), soname);
  LetAge(path);
  const auto file = DependencyFile::Read(path);
  CHECK(file->path() == path);
  CHECK(file->facts().soname == "libdep.so");
  CHECK(Finds(*file, "first"));
  CHECK(DependencyFile::Read(path) == file);

  SUBCASE("not if another file took its place") {
    workshop.Compile("libdep.so", Source("other"));
    LetAge(path);
    CHECK(Finds(*DependencyFile::Read(path), "other"));
  }
  SUBCASE("not if it was overwritten in place with as many bytes, and its time was set back") {
    const auto old = Identify(OpenForReading(path).get(), path);
    WriteText(path, ReadText(workshop.Compile("libdep2.so", Source("other"), soname)));
    SetModified(path, old.mtime_ns);
    const auto now = Identify(OpenForReading(path).get(), path);
    REQUIRE(now.inode == old.inode);
    REQUIRE(now.size == old.size);
    REQUIRE(now.mtime_ns == old.mtime_ns);
    CHECK(Finds(*DependencyFile::Read(path), "other"));
  }
  SUBCASE("not if it is gone or damaged") {
    WriteText(path, ReadText(path).substr(0, 100));
    CHECK_THROWS_AS(DependencyFile::Read(path), Error);
    std::filesystem::remove(path);
    CHECK_THROWS_AS(DependencyFile::Read(path), Error);
  }
  // What was given out stays as it was.
  CHECK(Finds(*file, "first"));
}

TEST_CASE("a file that could change without showing it is read each time") {
  const Workshop workshop;
  const auto path = workshop.Compile("libdep.so", Source("first"));
  SetModified(path, (std::time(nullptr) + 3600) * kSecond);
  CHECK(DependencyFile::Read(path) != DependencyFile::Read(path));
}

TEST_CASE("the copied symbol tables have the symbols of the file") {
  const Workshop workshop;
  WriteText(workshop / "map",
            "ONE { global: twice; once; local: *; };\nTWO { global: other; } ONE;\n");
  const std::string source =
      "__asm__(\".symver old_twice,twice@ONE\\n.symver new_twice,twice@@TWO\");\n"
      "extern int puts(const char*);\n__attribute__((weak)) extern int may_be_absent(void);\n"
      "int old_twice(void) { return 1; }\nint new_twice(void) { return 2; }\n"
      "int once(void) { return puts(\"\"); }\nint other(void) { return may_be_absent(); }\n";
  for (const std::string style : {"gnu", "sysv", "both"}) {
    CAPTURE(style);
    const auto path = workshop.Compile(
        "lib" + style + ".so", source,
        "-Wl,--hash-style=" + style + ",--version-script," + Quoted(workshop / "map"));
    const ElfBytes bytes(path);
    const ElfFile elf = ElfFile::Parse(bytes.span(), path);
    const auto file = DependencyFile::Read(path);
    CHECK(file->facts().needed == elf.facts().needed);
    REQUIRE(elf.Exports().size() > 3);
    for (const auto& symbol : elf.Exports()) {
      CAPTURE(symbol.name);
      CHECK(Finds(*file, symbol.name, symbol.version));
      CHECK(Finds(*file, symbol.name) == elf.Defines(symbol.name));
      CHECK_FALSE(Finds(*file, symbol.name, "THREE"));
    }
    CHECK(Finds(*file, "twice", "ONE"));
    CHECK(Finds(*file, "twice", "TWO"));
    CHECK_FALSE(Finds(*file, "once", "TWO"));
    CHECK_FALSE(Finds(*file, "absent"));
    const auto imports = elf.Imports();
    size_t index = 0;
    file->symbols().ForEachImport([&](const soswap::elf::Import& import) {
      REQUIRE(index < imports.size());
      CHECK(import.name == imports[index].name);
      CHECK(import.version == imports[index].version);
      CHECK(import.weak == imports[index].weak);
      ++index;
    });
    CHECK(index == imports.size());
  }
}

TEST_CASE("threads may read the same files") {
  const Workshop workshop;
  const std::vector<std::string> paths{workshop.Compile("one.so", Source("one")),
                                       workshop.Compile("two.so", Source("two"))};
  for (const auto& path : paths) LetAge(path);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        CHECK(Finds(*DependencyFile::Read(paths[0]), "one"));
        CHECK(Finds(*DependencyFile::Read(paths[1]), "two"));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}
