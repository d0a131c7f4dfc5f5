#include "core/base/unnamed_file.h"

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/base/error.h"
#include "core/copy/snapshot.h"
#include "core/elf/file.h"
#include "core/resolve/dependencies.h"
#include "core/resolve/library_search.h"
#include "small_libraries.h"

using soswap::CreateUnnamedFile;
using soswap::ElfFile;
using soswap::Error;
using soswap::Fault;
using soswap::FileDescriptor;
using soswap::FileUse;
using soswap::Snapshot;
using soswap::Storage;
using soswap::test::Quoted;
using soswap::test::RunTestCase;
using soswap::test::Workshop;

namespace {

constexpr std::array kUses{FileUse::kData, FileUse::kCode};

// From now on memfd_create(2) fails in this process.
bool RefuseMemoryFiles(int error_number) {
  std::array<sock_filter, 4> steps{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error_number)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog program{steps.size(), steps.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// Memory files have a device of their own.
uint64_t DeviceOf(const FileDescriptor& file) {
  struct stat status {};
  REQUIRE(fstat(file.get(), &status) == 0);
  return status.st_dev;
}

uint64_t DeviceOfMemoryFiles() {
  return DeviceOf(FileDescriptor(memfd_create("probe", MFD_CLOEXEC)));
}

}  // namespace

TEST_CASE("a file without a name can be written, sealed, and mapped as code") {
  const Workshop workshop;
  for (const FileUse use : kUses) {
    const auto file = CreateUnnamedFile("/some/where/lib.so", Storage::kMemory, use);
    CHECK(DeviceOf(file) == DeviceOfMemoryFiles());
    const std::string link = "/proc/self/fd/" + std::to_string(file.get());
    CHECK(std::filesystem::read_symlink(link).string().starts_with("/memfd:lib.so"));
    CHECK(write(file.get(), "text", 4) == 4);
    CHECK(fcntl(file.get(), F_GETFD) == FD_CLOEXEC);
    CHECK(fcntl(file.get(), F_ADD_SEALS, F_SEAL_GROW) == 0);
  }
}

TEST_CASE("a name may be as long as a path") {
  CHECK(CreateUnnamedFile(std::string(4000, 'n'), Storage::kMemory, FileUse::kData).valid());
}

TEST_CASE("child: a file in $TMPDIR" * doctest::skip()) {
  const std::filesystem::path directory = std::getenv("TMPDIR");
  soswap::SetTemporaryDirectory(directory);
  setenv("TMPDIR", "/nowhere", 1);  // which nobody reads
  for (const FileUse use : kUses) {
    const auto file = CreateUnnamedFile("lib.so", Storage::kPrivateFile, use);
    CHECK(DeviceOf(file) != DeviceOfMemoryFiles());
    CHECK(write(file.get(), "text", 4) == 4);
    CHECK(fcntl(file.get(), F_GETFD) == FD_CLOEXEC);
    CHECK(std::filesystem::is_empty(directory));
  }
}

TEST_CASE("a file on disk lies in $TMPDIR, which shows no entry for it") {
  const Workshop workshop;
  CHECK(RunTestCase("child: a file in $TMPDIR", "TMPDIR=" + Quoted(workshop.path())) == 0);
}

TEST_CASE("child: no $TMPDIR" * doctest::skip()) {
  soswap::SetTemporaryDirectory(std::getenv("TMPDIR"));
  for (const Storage storage : {Storage::kMemory, Storage::kPrivateFile}) {
    CHECK(CreateUnnamedFile("lib.so", storage, FileUse::kCode).valid());
  }
}

TEST_CASE("without $TMPDIR a file lies elsewhere") {
  CHECK(RunTestCase("child: no $TMPDIR", "TMPDIR=/nowhere/at/all") == 0);
}

TEST_CASE("child: no descriptor is left" * doctest::skip()) {
  const rlimit none{0, 0};
  REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
  try {
    CreateUnnamedFile("lib.so", Storage::kMemory, FileUse::kData);
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::kSystem);
    CHECK(error.subject() == "lib.so");
    CHECK(std::string(error.what())
              .starts_with("cannot create a file for 'lib.so': no file in memory: Too many open "
                           "files (RLIMIT_NOFILE is 0); no file in "));
  }
}

// UBSan looks at the error, while it is made, through a pipe, for which no descriptor is left.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kNeedsDescriptors = true;
#else
constexpr bool kNeedsDescriptors = false;
#endif

TEST_CASE("where no file can be created the error says why" * doctest::skip(kNeedsDescriptors)) {
  CHECK(RunTestCase("child: no descriptor is left", "") == 0);
}

TEST_CASE("child: memory files are refused" * doctest::skip()) {
  REQUIRE(RefuseMemoryFiles(std::atoi(std::getenv("REFUSAL"))));
  REQUIRE(memfd_create("probe", 0) == -1);
  for (const FileUse use : kUses) {
    CHECK(CreateUnnamedFile("lib.so", Storage::kMemory, use).valid());
  }
  const std::string library = std::getenv("LIBRARY");
  const auto snapshot = Snapshot::Take(library, Storage::kMemory);
  const auto elf = ElfFile::Parse(snapshot->bytes(), library);
  // This one creates a stub object too, and so does a search.
  REQUIRE(soswap::NeedsAnchor(elf.facts()));
  CHECK(soswap::LoadSnapshot(library, elf.facts(), snapshot->NewLoaderName(), RTLD_NOW) != nullptr);
  CHECK(soswap::FindLibrary("libc.so.6").starts_with('/'));
}

TEST_CASE("where memory files are refused, snapshots and stub objects lie in $TMPDIR") {
  const Workshop workshop;
  const auto dependency =
      workshop.Compile("libdep.so", "int dependency(void) { return 1; }", "-Wl,-soname,libdep.so");
  const auto library =
      workshop.Compile("lib.so", "int dependency(void);\nint answer(void) { return dependency(); }",
                       Quoted(dependency) + " -Wl,--enable-new-dtags,-rpath,'$ORIGIN'");
  for (const int refusal : {EPERM, ENOSYS, EACCES}) {
    CHECK(RunTestCase("child: memory files are refused",
                      "REFUSAL=" + std::to_string(refusal) + " LIBRARY=" + library) == 0);
  }
}
