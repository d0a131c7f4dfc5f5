// Runs one model of ONNX Runtime with the functions of the library whose OrtGetApiBase() the caller
// passes. Their places in the table are fixed: releases only append.

#include <stddef.h>
#include <stdint.h>

typedef void* status;  // null: well
typedef struct {
  void** (*api)(uint32_t version);
  const char* (*version)(void);
} base;

enum place {
  kCreateEnv = 3,
  kCreateSessionFromArray = 8,
  kRun = 9,
  kCreateSessionOptions = 10,
  kCreateTensorWithData = 49,
  kTensorData = 51,
  kCreateCpuMemoryInfo = 69,
  kReleaseEnv = 92,
  kReleaseMemoryInfo = 94,
  kReleaseSession = 95,
  kReleaseValue = 96,
  kReleaseSessionOptions = 100,
};

const char* version(const base* of) { return of->version(); }

// The model gives one tensor of `count` floats, called "y", for one that is called "x". Returns 0,
// or the place of the function that failed.
int run(const base* of, const void* model, uint64_t size, float* x, float* y, int64_t count) {
  enum { kOldVersion = 1, kWarning = 2, kFloat = 1, kArena = 1, kDefaultMemory = 0 };
  void** api = of->api(kOldVersion);
  if (api == NULL) return -1;
  void *env = NULL, *options = NULL, *session = NULL, *info = NULL, *in = NULL, *out = NULL;
  float* result = NULL;
  const char* in_name = "x";
  const char* out_name = "y";
  int failed = 0;
#define TRY(place, type, ...) \
  if (failed == 0 && ((status(*) type)api[place])(__VA_ARGS__) != NULL) failed = place
  TRY(kCreateEnv, (int, const char*, void**), kWarning, "campaign", &env);
  TRY(kCreateSessionOptions, (void**), &options);
  TRY(kCreateSessionFromArray, (void*, const void*, size_t, void*, void**), env, model, size,
      options, &session);
  TRY(kCreateCpuMemoryInfo, (int, int, void**), kArena, kDefaultMemory, &info);
  TRY(kCreateTensorWithData, (void*, void*, size_t, const int64_t*, size_t, int, void**), info, x,
      (size_t)count * sizeof *x, &count, 1, kFloat, &in);
  TRY(kRun,
      (void*, void*, const char* const*, const void* const*, size_t, const char* const*, size_t,
       void**),
      session, NULL, &in_name, (const void* const*)&in, 1, &out_name, 1, &out);
  TRY(kTensorData, (void*, float**), out, &result);
  for (int64_t i = 0; failed == 0 && i < count; ++i) y[i] = result[i];
#define RELEASE(place, what) \
  if ((what) != NULL) ((void (*)(void*))api[place])(what)
  RELEASE(kReleaseValue, out);
  RELEASE(kReleaseValue, in);
  RELEASE(kReleaseMemoryInfo, info);
  RELEASE(kReleaseSession, session);
  RELEASE(kReleaseSessionOptions, options);
  RELEASE(kReleaseEnv, env);
  return failed;
}
