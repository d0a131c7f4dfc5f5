// One binary for every system from glibc 2.28 on. What a newer glibc would bind to a newer version
// is defined here, hidden, by means that are older. It concerns this shared object alone, and every
// build of it; tools/check-versions finds what is missing here. core/base/old_libstdcxx.cc does the
// same for libstdc++.

#include <features.h>

#if defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __x86_64__
#define SOSWAP_FIRST_GLIBC "GLIBC_2.2.5"
#define SOSWAP_DLINFO_GLIBC "GLIBC_2.3.3"
#define SOSWAP_DLMOPEN_GLIBC "GLIBC_2.3.4"
#else
#define SOSWAP_FIRST_GLIBC "GLIBC_2.17"
#define SOSWAP_DLINFO_GLIBC "GLIBC_2.17"
#define SOSWAP_DLMOPEN_GLIBC "GLIBC_2.17"
#endif

// glibc 2.34 moved dlopen(3) and its family from libdl.so.2 to libc.so.6, under new versions. It
// keeps the old ones, which are the same functions. The headers are left out: they declare the
// names. The functions of libpthread.so.0 moved likewise.
__asm__(".symver soswap_old_pthread_create, pthread_create@" SOSWAP_FIRST_GLIBC);
__asm__(".symver soswap_old_pthread_join, pthread_join@" SOSWAP_FIRST_GLIBC);
__asm__(".symver soswap_old_pthread_detach, pthread_detach@" SOSWAP_FIRST_GLIBC);
__asm__(".symver soswap_old_dlopen, dlopen@" SOSWAP_FIRST_GLIBC);
__asm__(".symver soswap_old_dlsym, dlsym@" SOSWAP_FIRST_GLIBC);
__asm__(".symver soswap_old_dlvsym, dlvsym@" SOSWAP_FIRST_GLIBC);
__asm__(".symver soswap_old_dlclose, dlclose@" SOSWAP_FIRST_GLIBC);
__asm__(".symver soswap_old_dlerror, dlerror@" SOSWAP_FIRST_GLIBC);
__asm__(".symver soswap_old_dlinfo, dlinfo@" SOSWAP_DLINFO_GLIBC);
__asm__(".symver soswap_old_dladdr, dladdr@" SOSWAP_FIRST_GLIBC);
__asm__(".symver soswap_old_dladdr1, dladdr1@" SOSWAP_DLINFO_GLIBC);
__asm__(".symver soswap_old_dlmopen, dlmopen@" SOSWAP_DLMOPEN_GLIBC);

extern "C" {
int soswap_old_pthread_create(unsigned long* thread, const void* attributes, void* (*run)(void*),
                              void* argument);
int soswap_old_pthread_join(unsigned long thread, void** result);
int soswap_old_pthread_detach(unsigned long thread);
void* soswap_old_dlopen(const char* path, int mode);
void* soswap_old_dlsym(void* handle, const char* symbol);
void* soswap_old_dlvsym(void* handle, const char* symbol, const char* version);
int soswap_old_dlclose(void* handle);
char* soswap_old_dlerror();
int soswap_old_dlinfo(void* handle, int request, void* info);
int soswap_old_dladdr(const void* address, void* info);
int soswap_old_dladdr1(const void* address, void* info, void** extra, int flags);
void* soswap_old_dlmopen(long space, const char* path, int mode);

#pragma GCC visibility push(hidden)

int pthread_create(unsigned long* thread, const void* attributes, void* (*run)(void*),
                   void* argument) {
  return soswap_old_pthread_create(thread, attributes, run, argument);
}
int pthread_join(unsigned long thread, void** result) {
  return soswap_old_pthread_join(thread, result);
}
int pthread_detach(unsigned long thread) { return soswap_old_pthread_detach(thread); }

// The loader takes the search path of the caller, which is this object here as well.
void* dlopen(const char* path, int mode) { return soswap_old_dlopen(path, mode); }
void* dlsym(void* handle, const char* symbol) { return soswap_old_dlsym(handle, symbol); }
void* dlvsym(void* handle, const char* symbol, const char* version) {
  return soswap_old_dlvsym(handle, symbol, version);
}
int dlclose(void* handle) { return soswap_old_dlclose(handle); }
char* dlerror() { return soswap_old_dlerror(); }
int dlinfo(void* handle, int request, void* info) {
  return soswap_old_dlinfo(handle, request, info);
}
int dladdr(const void* address, void* info) { return soswap_old_dladdr(address, info); }
int dladdr1(const void* address, void* info, void** extra, int flags) {
  return soswap_old_dladdr1(address, info, extra, flags);
}
void* dlmopen(long space, const char* path, int mode) {
  return soswap_old_dlmopen(space, path, mode);
}

}  // extern "C"

// Functions since glibc 2.33, inline ones before that. On both machines glibc's structure is the
// kernel's.
int Stat(const char* path, void* result) __asm__("stat64");
int Stat(const char* path, void* result) {
  return static_cast<int>(syscall(SYS_newfstatat, AT_FDCWD, path, result, 0));
}
int StatLink(const char* path, void* result) __asm__("lstat64");
int StatLink(const char* path, void* result) {
  return static_cast<int>(syscall(SYS_newfstatat, AT_FDCWD, path, result, AT_SYMLINK_NOFOLLOW));
}
int StatDescriptor(int descriptor, void* result) __asm__("fstat64");
int StatDescriptor(int descriptor, void* result) {
  return static_cast<int>(syscall(SYS_fstat, descriptor, result));
}

#pragma GCC visibility pop

#endif
