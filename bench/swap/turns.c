// Preloaded into a Node.js process, this sees how long its event loop is busy at a stretch: libuv
// sleeps in epoll_pwait(2), and from its return to the next call the main thread belongs to
// JavaScript. Nothing runs on the side that could slow down what is watched.

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct {
  double began;  // nanoseconds, as all of these
  double longest;
  double all;
} busy;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void add(double end) {
  double took = end - busy.began;
  busy.all += took;
  if (took > busy.longest) busy.longest = took;
}

static int watched(void) { return syscall(SYS_gettid) == getpid(); }

int epoll_pwait(int fd, struct epoll_event* events, int most, int timeout, const sigset_t* mask) {
  const int is_watched = watched();
  if (is_watched) add(now());
  const long count = syscall(SYS_epoll_pwait, fd, events, most, timeout, mask, _NSIG / 8);
  const int error = errno;
  if (is_watched) busy.began = now();
  errno = error;
  return (int)count;
}

int epoll_wait(int fd, struct epoll_event* events, int most, int timeout) {
  return epoll_pwait(fd, events, most, timeout, NULL);
}

// From now on.
void turns_begin(void) {
  busy.longest = 0;
  busy.all = 0;
  busy.began = now();
}

// The longest turn and the sum of all until now, which ends one.
void turns_end(double* longest_and_all) {
  add(now());
  busy.began = now();
  longest_and_all[0] = busy.longest;
  longest_and_all[1] = busy.all;
}
