#pragma once

#include <aio.h>
#include <mqueue.h>
#include <netdb.h>
#include <pthread.h>
#include <threads.h>

#include <csignal>
#include <ctime>

#include "core/tracking/tracking.h"

namespace soswap {

// The functions of the process that have these names, found at run time: their versions differ
// between releases of glibc, and a program may have none of libuv. Null if absent.
struct RealFunctions {
  int (*pthread_create)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  int (*thrd_create)(thrd_t*, thrd_start_t, void*);
  int (*uv_thread_create)(void*, void (*)(void*), void*);
  int (*uv_thread_create_ex)(void*, const void*, void (*)(void*), void*);
  int (*uv_queue_work)(void*, void*, void (*)(void*), void (*)(void*, int));
  int (*cxa_thread_atexit_impl)(void (*)(void*), void*, void*);
  int (*key_create)(pthread_key_t*, void (*)(void*));
  int (*key_delete)(pthread_key_t);
  int (*set_specific)(pthread_key_t, const void*);
  void* (*get_specific)(pthread_key_t);
  int (*timer_create)(clockid_t, sigevent*, timer_t*);
  int (*timer_delete)(timer_t);
  int (*mq_notify)(mqd_t, const sigevent*);
  int (*getaddrinfo_a)(int, gaicb**, int, sigevent*);
  void* (*dlsym)(void*, const char*);
  void* by_name[static_cast<size_t>(Tracked::kCount)];

  void* Of(Tracked what) const noexcept { return by_name[static_cast<size_t>(what)]; }
  // The same as a function of this type.
  template <typename Function>
  Function* As(Tracked what) const noexcept {
    return reinterpret_cast<Function*>(Of(what));
  }

  // Whether there is what tracking itself needs.
  bool enough = false;
};

const RealFunctions& Real();

}  // namespace soswap
