#include "core/tracking/account.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <iterator>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/loader/dl.h"

#if defined(__x86_64__)
// mmap(2) with a seventh argument, which comes in %rax; see thunks.cc.
extern "C" {
[[gnu::visibility("hidden")]] void soswap_account_mmap();
[[gnu::visibility("hidden")]] void* soswap_account_map(void* address, size_t size, int protection,
                                                       int flags, int descriptor, off_t offset,
                                                       const soswap::Account* account);
}
__asm__(R"(
.text
.hidden soswap_account_mmap
.globl soswap_account_mmap
.type soswap_account_mmap, @function
soswap_account_mmap:
  .cfi_startproc
  pushq %rax
  .cfi_adjust_cfa_offset 8
  call soswap_account_map
  addq $8, %rsp
  .cfi_adjust_cfa_offset -8
  ret
  .cfi_endproc
.size soswap_account_mmap, . - soswap_account_mmap
)");
#endif

namespace soswap {

struct Account::Sums {
  uint64_t allocations = 0;
  uint64_t bytes = 0;
};

namespace {

using Sums = std::shared_ptr<Account::Sums>;

struct Allocation {
  Sums sums;
  size_t size;
};
struct Descriptor {
  Sums sums;
  dev_t device;
  ino_t inode;
};
struct Mapping {
  Sums sums;
  size_t size;
};

// What the images of the process have taken. One for all: an image may give back what another took.
struct Ledger {
  std::mutex mutex;
  std::unordered_map<uintptr_t, Allocation> allocations;
  std::unordered_map<int, Descriptor> descriptors;
  std::map<uintptr_t, Mapping> mappings;
  std::map<std::string, Sums> images;
};

Ledger& TheLedger() {
  static auto* ledger = new Ledger();
  return *ledger;
}

// Called by code of images, in C: no exception may leave it. Without memory it counts less. errno
// stays what the counted function made it.
template <typename Body>
void WithLedger(Body body) noexcept {
  const int error_number = errno;
  try {
    Ledger& ledger = TheLedger();
    const std::lock_guard lock(ledger.mutex);
    body(ledger);
  } catch (...) {
  }
  errno = error_number;
}

void Remove(Ledger& ledger, const void* memory) {
  const auto found = ledger.allocations.find(reinterpret_cast<uintptr_t>(memory));
  if (found == ledger.allocations.end()) return;
  found->second.sums->allocations -= 1;
  found->second.sums->bytes -= found->second.size;
  ledger.allocations.erase(found);
}

void Add(Ledger& ledger, const void* memory, size_t size, const Account* account) {
  Remove(ledger, memory);  // somebody else has freed it
  const Sums& sums = account->sums();
  ledger.allocations.emplace(reinterpret_cast<uintptr_t>(memory), Allocation{sums, size});
  sums->allocations += 1;
  sums->bytes += size;
}

template <typename Memory>
Memory* Took(Memory* memory, size_t size, const Account* account) noexcept {
  if (memory != nullptr) WithLedger([&](Ledger& ledger) { Add(ledger, memory, size, account); });
  return memory;
}

int TookDescriptor(int descriptor, const Account* account) noexcept {
  if (descriptor < 0) return descriptor;
  WithLedger([&](Ledger& ledger) {
    struct stat status {};
    if (fstat(descriptor, &status) != 0) return;
    ledger.descriptors.insert_or_assign(descriptor,
                                        Descriptor{account->sums(), status.st_dev, status.st_ino});
  });
  return descriptor;
}

int TookPair(int failed, const int* pair, const Account* account) noexcept {
  if (failed == 0) {
    TookDescriptor(pair[0], account);
    TookDescriptor(pair[1], account);
  }
  return failed;
}

void GaveDescriptor(int descriptor) noexcept {
  WithLedger([&](Ledger& ledger) { ledger.descriptors.erase(descriptor); });
}

// Takes a range out of the mappings, which may be a part of some.
void RemoveRange(Ledger& ledger, uintptr_t start, size_t size) {
  const uintptr_t end = start + size;
  auto each = ledger.mappings.upper_bound(start);
  if (each != ledger.mappings.begin()) --each;
  std::vector<std::pair<uintptr_t, Mapping>> left;
  while (each != ledger.mappings.end() && each->first < end) {
    const uintptr_t own_start = each->first;
    const uintptr_t own_end = own_start + each->second.size;
    if (own_end <= start) {
      ++each;
      continue;
    }
    if (own_start < start) left.push_back({own_start, {each->second.sums, start - own_start}});
    if (own_end > end) left.push_back({end, {each->second.sums, own_end - end}});
    each = ledger.mappings.erase(each);
  }
  for (auto& [address, mapping] : left) ledger.mappings.emplace(address, std::move(mapping));
}

size_t Whole(size_t size) { return (size + 4095) / 4096 * 4096; }

// Each counted function is one entry: its name, how many arguments it has, and what is called.
struct Entry {
  std::string_view name;
  Thunks::Target target;
};

template <typename Function>
Entry To(std::string_view name, Function* function, unsigned arguments) {
  return {name, {reinterpret_cast<uintptr_t>(function), arguments}};
}

void* Find(const char* name) {
  const LoaderHandle program(dlopen(nullptr, RTLD_LAZY));
  return FindSymbol(program.get(), name).value_or(nullptr);
}

// The function of the process with the name that the parameter of the template is.
template <size_t kSize>
struct Name {
  // NOLINTNEXTLINE(google-explicit-constructor): a literal is one
  constexpr Name(const char (&text)[kSize]) { std::copy_n(text, kSize, value); }
  char value[kSize];
};
template <typename Function, Name kName>
Function* Called() {
  static auto* const function = reinterpret_cast<Function*>(Find(kName.value));
  return function;
}

// Memory of `size` bytes, where `size` is the argument before the last one but the account.
template <Name kName>
void* Allocate(size_t size, const Account* account) {
  return Took(Called<void*(size_t), kName>()(size), size, account);
}
template <Name kName>
void* AllocateWith(size_t size, uintptr_t other, const Account* account) {
  return Took(Called<void*(size_t, uintptr_t), kName>()(size, other), size, account);
}
template <Name kName>
void* AllocateAligned(size_t alignment, size_t size, const Account* account) {
  return Took(Called<void*(size_t, size_t), kName>()(alignment, size), size, account);
}
template <Name kName>
void* AllocateAlignedNothrow(size_t size, size_t alignment, const void* nothrow,
                             const Account* account) {
  using Function = void*(size_t, size_t, const void*);
  return Took(Called<Function, kName>()(size, alignment, nothrow), size, account);
}
void* Calloc(size_t count, size_t size, const Account* account) {
  return Took(Called<void*(size_t, size_t), "calloc">()(count, size), count * size, account);
}
void* Reallocated(void* before, void* after, size_t size, const Account* account) {
  if (after == nullptr && size > 0) return nullptr;  // it failed
  WithLedger([&](Ledger& ledger) {
    Remove(ledger, before);
    if (after != nullptr) Add(ledger, after, size, account);
  });
  return after;
}
void* Realloc(void* memory, size_t size, const Account* account) {
  return Reallocated(memory, Called<void*(void*, size_t), "realloc">()(memory, size), size,
                     account);
}
void* Reallocarray(void* memory, size_t count, size_t size, const Account* account) {
  void* after = Called<void*(void*, size_t, size_t), "reallocarray">()(memory, count, size);
  return Reallocated(memory, after, count * size, account);
}
int PosixMemalign(void** memory, size_t alignment, size_t size, const Account* account) {
  const int failed =
      Called<int(void**, size_t, size_t), "posix_memalign">()(memory, alignment, size);
  if (failed == 0) Took(*memory, size, account);
  return failed;
}
char* Strdup(const char* text, const Account* account) {
  char* copy = Called<char*(const char*), "strdup">()(text);
  return Took(copy, copy == nullptr ? 0 : std::char_traits<char>::length(copy) + 1, account);
}
char* Strndup(const char* text, size_t most, const Account* account) {
  char* copy = Called<char*(const char*, size_t), "strndup">()(text, most);
  return Took(copy, copy == nullptr ? 0 : std::char_traits<char>::length(copy) + 1, account);
}
// First forgotten, then freed: another thread may be given the same address at once.
template <Name kName>
void Free(void* memory, const Account* /*account*/) {
  WithLedger([&](Ledger& ledger) { Remove(ledger, memory); });
  Called<void(void*), kName>()(memory);
}
template <Name kName>
void FreeWith(void* memory, uintptr_t other, const Account* /*account*/) {
  WithLedger([&](Ledger& ledger) { Remove(ledger, memory); });
  Called<void(void*, uintptr_t), kName>()(memory, other);
}
template <Name kName>
void FreeAligned(void* memory, uintptr_t size, uintptr_t alignment, const Account* /*account*/) {
  WithLedger([&](Ledger& ledger) { Remove(ledger, memory); });
  Called<void(void*, uintptr_t, uintptr_t), kName>()(memory, size, alignment);
}

template <Name kName>
int Open(const char* path, int flags, mode_t mode, const Account* account) {
  return TookDescriptor(Called<int(const char*, int, ...), kName>()(path, flags, mode), account);
}
template <Name kName>
int OpenAt(int directory, const char* path, int flags, mode_t mode, const Account* account) {
  using Function = int(int, const char*, int, ...);
  return TookDescriptor(Called<Function, kName>()(directory, path, flags, mode), account);
}
template <Name kName>
int Control(int descriptor, int command, uintptr_t argument, const Account* account) {
  const int result = Called<int(int, int, ...), kName>()(descriptor, command, argument);
  const bool duplicates = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
  return duplicates ? TookDescriptor(result, account) : result;
}
// Whatever returns a descriptor, by the number of its arguments.
template <Name kName>
int Descriptor1(uintptr_t a, const Account* account) {
  return TookDescriptor(Called<int(uintptr_t), kName>()(a), account);
}
template <Name kName>
int Descriptor2(uintptr_t a, uintptr_t b, const Account* account) {
  return TookDescriptor(Called<int(uintptr_t, uintptr_t), kName>()(a, b), account);
}
template <Name kName>
int Descriptor3(uintptr_t a, uintptr_t b, uintptr_t c, const Account* account) {
  using Function = int(uintptr_t, uintptr_t, uintptr_t);
  return TookDescriptor(Called<Function, kName>()(a, b, c), account);
}
template <Name kName>
int Descriptor4(uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, const Account* account) {
  using Function = int(uintptr_t, uintptr_t, uintptr_t, uintptr_t);
  return TookDescriptor(Called<Function, kName>()(a, b, c, d), account);
}
int Pipe(int* pair, const Account* account) {
  return TookPair(Called<int(int*), "pipe">()(pair), pair, account);
}
int Pipe2(int* pair, int flags, const Account* account) {
  return TookPair(Called<int(int*, int), "pipe2">()(pair, flags), pair, account);
}
int SocketPair(int domain, int type, int protocol, int* pair, const Account* account) {
  using Function = int(int, int, int, int*);
  return TookPair(Called<Function, "socketpair">()(domain, type, protocol, pair), pair, account);
}
template <Name kName>
FILE* OpenFile(const char* path, const char* mode, const Account* account) {
  FILE* file = Called<FILE*(const char*, const char*), kName>()(path, mode);
  if (file != nullptr) TookDescriptor(fileno(file), account);
  return file;
}
DIR* OpenDirectory(const char* path, const Account* account) {
  DIR* directory = Called<DIR*(const char*), "opendir">()(path);
  if (directory != nullptr) TookDescriptor(dirfd(directory), account);
  return directory;
}
int CloseDescriptor(int descriptor, const Account* /*account*/) {
  GaveDescriptor(descriptor);
  return Called<int(int), "close">()(descriptor);
}
int CloseFile(FILE* file, const Account* /*account*/) {
  GaveDescriptor(fileno(file));
  return Called<int(FILE*), "fclose">()(file);
}
int CloseDirectory(DIR* directory, const Account* /*account*/) {
  GaveDescriptor(dirfd(directory));
  return Called<int(DIR*), "closedir">()(directory);
}

void* Map(void* address, size_t size, int protection, int flags, int descriptor, off_t offset,
          const Account* account) {
  using Function = void*(void*, size_t, int, int, int, off_t);
  void* mapped = Called<Function, "mmap">()(address, size, protection, flags, descriptor, offset);
  if (mapped != MAP_FAILED) {
    WithLedger([&](Ledger& ledger) {
      const auto start = reinterpret_cast<uintptr_t>(mapped);
      RemoveRange(ledger, start, Whole(size));
      ledger.mappings.emplace(start, Mapping{account->sums(), Whole(size)});
    });
  }
  return mapped;
}
int Unmap(void* address, size_t size, const Account* /*account*/) {
  WithLedger([&](Ledger& ledger) {
    RemoveRange(ledger, reinterpret_cast<uintptr_t>(address), Whole(size));
  });
  return Called<int(void*, size_t), "munmap">()(address, size);
}

#if defined(__x86_64__)
constexpr auto* kMap = soswap_account_mmap;
#else
constexpr auto* kMap = Map;
#endif

const std::vector<Entry>& Entries() {
  static const auto* entries = [] {
    auto* all = new std::vector<Entry>{
        To("malloc", Allocate<"malloc">, 1),
        To("calloc", Calloc, 2),
        To("realloc", Realloc, 2),
        To("reallocarray", Reallocarray, 3),
        To("aligned_alloc", AllocateAligned<"aligned_alloc">, 2),
        To("memalign", AllocateAligned<"memalign">, 2),
        To("posix_memalign", PosixMemalign, 3),
        To("strdup", Strdup, 1),
        To("strndup", Strndup, 2),
        To("free", Free<"free">, 1),
        // operator new and delete, Itanium C++ ABI
        To("_Znwm", Allocate<"_Znwm">, 1),
        To("_Znam", Allocate<"_Znam">, 1),
        To("_ZnwmRKSt9nothrow_t", AllocateWith<"_ZnwmRKSt9nothrow_t">, 2),
        To("_ZnamRKSt9nothrow_t", AllocateWith<"_ZnamRKSt9nothrow_t">, 2),
        To("_ZnwmSt11align_val_t", AllocateWith<"_ZnwmSt11align_val_t">, 2),
        To("_ZnamSt11align_val_t", AllocateWith<"_ZnamSt11align_val_t">, 2),
        To("_ZnwmSt11align_val_tRKSt9nothrow_t",
           AllocateAlignedNothrow<"_ZnwmSt11align_val_tRKSt9nothrow_t">, 3),
        To("_ZdlPv", Free<"_ZdlPv">, 1),
        To("_ZdaPv", Free<"_ZdaPv">, 1),
        To("_ZdlPvm", FreeWith<"_ZdlPvm">, 2),
        To("_ZdaPvm", FreeWith<"_ZdaPvm">, 2),
        To("_ZdlPvSt11align_val_t", FreeWith<"_ZdlPvSt11align_val_t">, 2),
        To("_ZdaPvSt11align_val_t", FreeWith<"_ZdaPvSt11align_val_t">, 2),
        To("_ZdlPvmSt11align_val_t", FreeAligned<"_ZdlPvmSt11align_val_t">, 3),
        To("_ZdaPvmSt11align_val_t", FreeAligned<"_ZdaPvmSt11align_val_t">, 3),
        // descriptors
        To("open", Open<"open">, 3),
        To("open64", Open<"open64">, 3),
        To("openat", OpenAt<"openat">, 4),
        To("openat64", OpenAt<"openat64">, 4),
        To("creat", Descriptor2<"creat">, 2),
        To("socket", Descriptor3<"socket">, 3),
        To("accept", Descriptor3<"accept">, 3),
        To("accept4", Descriptor4<"accept4">, 4),
        To("dup", Descriptor1<"dup">, 1),
        To("dup2", Descriptor2<"dup2">, 2),
        To("dup3", Descriptor3<"dup3">, 3),
        To("fcntl", Control<"fcntl">, 3),
        To("fcntl64", Control<"fcntl64">, 3),
        To("epoll_create1", Descriptor1<"epoll_create1">, 1),
        To("eventfd", Descriptor2<"eventfd">, 2),
        To("timerfd_create", Descriptor2<"timerfd_create">, 2),
        To("memfd_create", Descriptor2<"memfd_create">, 2),
        To("inotify_init1", Descriptor1<"inotify_init1">, 1),
        To("pipe", Pipe, 1),
        To("pipe2", Pipe2, 2),
        To("socketpair", SocketPair, 4),
        To("fopen", OpenFile<"fopen">, 2),
        To("fopen64", OpenFile<"fopen64">, 2),
        To("opendir", OpenDirectory, 1),
        To("close", CloseDescriptor, 1),
        To("fclose", CloseFile, 1),
        To("closedir", CloseDirectory, 1),
        // mappings
        To("mmap", kMap, 6),
        To("mmap64", kMap, 6),
        To("munmap", Unmap, 2),
    };
    // What this process lacks, the loader is to miss too.
    std::erase_if(
        *all, [](const Entry& each) { return Find(std::string(each.name).c_str()) == nullptr; });
    return all;
  }();
  return *entries;
}

Thunks& AccountThunks() {
  static auto* thunks = [] {
    std::vector<Thunks::Target> targets;
    for (const Entry& each : Entries()) targets.push_back(each.target);
    return new Thunks(std::move(targets));
  }();
  return *thunks;
}

}  // namespace

Account* Account::New() {
  const Thunks::Set set = AccountThunks().Make();
  if (set.code == 0) return nullptr;
  auto* account = new Account(set);
  *set.word = reinterpret_cast<uintptr_t>(account);
  return account;
}

uintptr_t Account::AddressOf(std::string_view name) const {
  const auto& entries = Entries();
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [&](const Entry& each) { return each.name == name; });
  if (found == entries.end()) return 0;
  return thunks_.AddressOf(static_cast<size_t>(std::distance(entries.begin(), found)));
}

void Account::Begin(const std::string& loader_name) {
  sums_ = std::make_shared<Sums>();
  Ledger& ledger = TheLedger();
  const std::lock_guard lock(ledger.mutex);
  ledger.images.insert_or_assign(loader_name, sums_);
}

std::optional<LeftBehind> LeftBehindBy(const std::string& loader_name, bool forget) {
  Ledger& ledger = TheLedger();
  const std::lock_guard lock(ledger.mutex);
  const auto found = ledger.images.find(loader_name);
  if (found == ledger.images.end()) return std::nullopt;
  const Sums sums = found->second;
  LeftBehind left{.allocations = sums->allocations, .bytes = sums->bytes};
  for (auto each = ledger.descriptors.begin(); each != ledger.descriptors.end();) {
    const auto& [descriptor, taken] = *each;
    struct stat status {};
    // Others may have closed it, and the number may be that of another file now.
    const bool is_open = fstat(descriptor, &status) == 0 && status.st_dev == taken.device &&
                         status.st_ino == taken.inode;
    if (is_open && taken.sums == sums) ++left.descriptors;
    each = is_open ? std::next(each) : ledger.descriptors.erase(each);
  }
  for (const auto& [address, mapping] : ledger.mappings) {
    if (mapping.sums != sums) continue;
    ++left.mappings;
    left.mapped_bytes += mapping.size;
  }
  if (forget) ledger.images.erase(found);
  return left;
}

}  // namespace soswap

#if defined(__x86_64__)
extern "C" void* soswap_account_map(void* address, size_t size, int protection, int flags,
                                    int descriptor, off_t offset, const soswap::Account* account) {
  return soswap::Map(address, size, protection, flags, descriptor, offset, account);
}
#endif
