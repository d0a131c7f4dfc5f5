// Preloaded into a Node.js process, this counts the calls that soswap makes into the C library and
// the loader, and the time in them: on the main thread and on all others. It costs 50 ns a call,
// where strace(1) would cost 50 µs.

#define _GNU_SOURCE
#define _LARGEFILE64_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// Two of each: of the main thread, and of the others.
struct count {
  const char* name;
  double calls[2];
  double nanoseconds[2];
};

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int place(void) {
  static __thread int known;
  if (known == 0) known = 1 + (syscall(SYS_gettid) != getpid());
  return known - 1;
}

static void add(struct count* count, double began) {
  const int at = place();
  count->calls[at] += 1;
  count->nanoseconds[at] += now() - began;
}

enum { kMost = 64 };
static struct count* counts[kMost];
static int count_of_counts;

#define TIMED(type, function, parameters, arguments)                          \
  static struct count count_##function = {#function, {0, 0}, {0, 0}};         \
  __attribute__((constructor)) static void note_##function(void) {            \
    counts[count_of_counts++] = &count_##function;                            \
  }                                                                           \
  type function parameters {                                                  \
    static type(*real) parameters;                                            \
    if (real == NULL) real = (type(*) parameters)dlsym(RTLD_NEXT, #function); \
    const double began = now();                                               \
    type result = real arguments;                                             \
    add(&count_##function, began);                                            \
    return result;                                                            \
  }

TIMED(int, memfd_create, (const char* name, unsigned flags), (name, flags))
TIMED(int, ftruncate64, (int fd, off64_t size), (fd, size))
TIMED(int, fallocate64, (int fd, int mode, off64_t at, off64_t size), (fd, mode, at, size))
TIMED(void*, mmap64, (void* at, size_t size, int protection, int flags, int fd, off64_t offset),
      (at, size, protection, flags, fd, offset))
TIMED(int, munmap, (void* at, size_t size), (at, size))
TIMED(int, mprotect, (void* at, size_t size, int protection), (at, size, protection))
TIMED(int, madvise, (void* at, size_t size, int advice), (at, size, advice))
TIMED(ssize_t, pread64, (int fd, void* to, size_t size, off64_t at), (fd, to, size, at))
TIMED(ssize_t, pwrite64, (int fd, const void* from, size_t size, off64_t at), (fd, from, size, at))
TIMED(ssize_t, read, (int fd, void* to, size_t size), (fd, to, size))
TIMED(int, close, (int fd), (fd))
TIMED(int, fstat64, (int fd, struct stat64* status), (fd, status))
TIMED(int, stat64, (const char* path, struct stat64* status), (path, status))
TIMED(int, access, (const char* path, int mode), (path, mode))
TIMED(void*, dlopen, (const char* name, int mode), (name, mode))
TIMED(int, dlclose, (void* handle), (handle))
TIMED(int, dlinfo, (void* restrict handle, int what, void* restrict to), (handle, what, to))
TIMED(void*, dlvsym,
      (void* restrict handle, const char* restrict name, const char* restrict version),
      (handle, name, version))
TIMED(int, dl_iterate_phdr, (int (*each)(struct dl_phdr_info*, size_t, void*), void* data),
      (each, data))

static struct count count_fcntl64 = {"fcntl64", {0, 0}, {0, 0}};
static struct count count_open64 = {"open64", {0, 0}, {0, 0}};
__attribute__((constructor)) static void note_others(void) {
  counts[count_of_counts++] = &count_fcntl64;
  counts[count_of_counts++] = &count_open64;
}

int fcntl64(int fd, int command, ...) {
  va_list more;
  va_start(more, command);
  void* argument = va_arg(more, void*);
  va_end(more);
  const double began = now();
  const int result = (int)syscall(SYS_fcntl, fd, command, argument);
  add(&count_fcntl64, began);
  return result;
}

int open64(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const int mode = va_arg(more, int);
  va_end(more);
  const double began = now();
  const int result = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  add(&count_open64, began);
  return result;
}

const char* profile_name(uint32_t index) {
  return (int)index < count_of_counts ? counts[index]->name : NULL;
}

// Calls and nanoseconds on the main thread, then those on the others, of each name.
void profile_read(double* to) {
  for (int i = 0; i < count_of_counts; ++i) {
    *to++ = counts[i]->calls[0];
    *to++ = counts[i]->nanoseconds[0];
    *to++ = counts[i]->calls[1];
    *to++ = counts[i]->nanoseconds[1];
  }
}
