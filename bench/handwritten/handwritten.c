// The limit that bench/calls.ts compares with: the addon that one would write by hand for these
// very functions, each called through a pointer that dlsym(3) found, with the checks that a careful
// author makes and not one more.

#include <dlfcn.h>
#include <node_api.h>
#include <stdint.h>
#include <stdlib.h>

static void (*call_noop)(void);
static int32_t (*call_add)(int32_t, int32_t);
static int64_t (*call_add64)(int64_t, int64_t);
static double (*call_mul)(double, double);
static uint64_t (*call_length)(const char*);
static uint32_t (*call_length32)(const char*);
static uint64_t (*call_sum)(const uint8_t*, uint64_t);
static uint32_t (*call_sum32)(const uint8_t*, uint64_t);

static napi_value Refuse(napi_env env) {
  napi_throw_type_error(env, "ERR_INVALID_ARG_VALUE", "wrong arguments");
  return NULL;
}

static napi_value Noop(napi_env env, napi_callback_info info) {
  size_t count = 0;
  if (napi_get_cb_info(env, info, &count, NULL, NULL, NULL) != napi_ok || count != 0) {
    return Refuse(env);
  }
  call_noop();
  return NULL;
}

static napi_value Add(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  int32_t a, b;
  if (napi_get_cb_info(env, info, &count, arguments, NULL, NULL) != napi_ok || count != 2 ||
      napi_get_value_int32(env, arguments[0], &a) != napi_ok ||
      napi_get_value_int32(env, arguments[1], &b) != napi_ok) {
    return Refuse(env);
  }
  napi_value result;
  napi_create_int32(env, call_add(a, b), &result);
  return result;
}

static napi_value Add64(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  int64_t a, b;
  bool is_a, is_b;
  if (napi_get_cb_info(env, info, &count, arguments, NULL, NULL) != napi_ok || count != 2 ||
      napi_get_value_bigint_int64(env, arguments[0], &a, &is_a) != napi_ok ||
      napi_get_value_bigint_int64(env, arguments[1], &b, &is_b) != napi_ok || !is_a || !is_b) {
    return Refuse(env);
  }
  napi_value result;
  napi_create_bigint_int64(env, call_add64(a, b), &result);
  return result;
}

static napi_value Mul(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  double a, b;
  if (napi_get_cb_info(env, info, &count, arguments, NULL, NULL) != napi_ok || count != 2 ||
      napi_get_value_double(env, arguments[0], &a) != napi_ok ||
      napi_get_value_double(env, arguments[1], &b) != napi_ok) {
    return Refuse(env);
  }
  napi_value result;
  napi_create_double(env, call_mul(a, b), &result);
  return result;
}

// Copies the string argument of a call to `small`, or to memory of its own that must be freed.
static char* TakeText(napi_env env, napi_callback_info info, char* small, size_t room) {
  size_t count = 1;
  napi_value argument;
  size_t length;
  if (napi_get_cb_info(env, info, &count, &argument, NULL, NULL) != napi_ok || count != 1 ||
      napi_get_value_string_utf8(env, argument, NULL, 0, &length) != napi_ok) {
    Refuse(env);
    return NULL;
  }
  char* text = length < room ? small : malloc(length + 1);
  napi_get_value_string_utf8(env, argument, text, length + 1, &length);
  return text;
}

static napi_value Length(napi_env env, napi_callback_info info) {
  char small[256];
  char* text = TakeText(env, info, small, sizeof(small));
  if (text == NULL) return NULL;
  napi_value result;
  napi_create_bigint_uint64(env, call_length(text), &result);
  if (text != small) free(text);
  return result;
}

static napi_value Length32(napi_env env, napi_callback_info info) {
  char small[256];
  char* text = TakeText(env, info, small, sizeof(small));
  if (text == NULL) return NULL;
  napi_value result;
  napi_create_uint32(env, call_length32(text), &result);
  if (text != small) free(text);
  return result;
}

typedef struct {
  void* data;
  uint64_t length;
} Bytes;

static int TakeBytes(napi_env env, napi_callback_info info, Bytes* bytes) {
  size_t count = 2;
  napi_value arguments[2];
  size_t length;
  int64_t wanted;
  if (napi_get_cb_info(env, info, &count, arguments, NULL, NULL) != napi_ok || count != 2 ||
      napi_get_buffer_info(env, arguments[0], &bytes->data, &length) != napi_ok ||
      napi_get_value_int64(env, arguments[1], &wanted) != napi_ok) {
    Refuse(env);
    return 0;
  }
  bytes->length = (uint64_t)wanted;
  return 1;
}

static napi_value Sum(napi_env env, napi_callback_info info) {
  Bytes bytes;
  if (!TakeBytes(env, info, &bytes)) return NULL;
  napi_value result;
  napi_create_bigint_uint64(env, call_sum(bytes.data, bytes.length), &result);
  return result;
}

static napi_value Sum32(napi_env env, napi_callback_info info) {
  Bytes bytes;
  if (!TakeBytes(env, info, &bytes)) return NULL;
  napi_value result;
  napi_create_uint32(env, call_sum32(bytes.data, bytes.length), &result);
  return result;
}

// add() on the thread pool.
typedef struct {
  napi_async_work work;
  napi_deferred deferred;
  int32_t a, b, sum;
} Addition;

static void RunAddition(napi_env env, void* data) {
  (void)env;
  Addition* addition = data;
  addition->sum = call_add(addition->a, addition->b);
}

static void SettleAddition(napi_env env, napi_status status, void* data) {
  (void)status;
  Addition* addition = data;
  napi_value sum;
  napi_create_int32(env, addition->sum, &sum);
  napi_resolve_deferred(env, addition->deferred, sum);
  napi_delete_async_work(env, addition->work);
  free(addition);
}

static napi_value AddLater(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  int32_t a, b;
  if (napi_get_cb_info(env, info, &count, arguments, NULL, NULL) != napi_ok || count != 2 ||
      napi_get_value_int32(env, arguments[0], &a) != napi_ok ||
      napi_get_value_int32(env, arguments[1], &b) != napi_ok) {
    return Refuse(env);
  }
  Addition* addition = malloc(sizeof(*addition));
  addition->a = a;
  addition->b = b;
  napi_value name, promise;
  napi_create_promise(env, &addition->deferred, &promise);
  napi_create_string_utf8(env, "add", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, NULL, name, RunAddition, SettleAddition, addition, &addition->work);
  napi_queue_async_work(env, addition->work);
  return promise;
}

// load(path): dlopen(3) and dlsym(3), once.
static napi_value Load(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  char path[4096];
  size_t length;
  if (napi_get_cb_info(env, info, &count, &argument, NULL, NULL) != napi_ok || count != 1 ||
      napi_get_value_string_utf8(env, argument, path, sizeof(path), &length) != napi_ok) {
    return Refuse(env);
  }
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    napi_throw_error(env, NULL, dlerror());
    return NULL;
  }
  *(void**)&call_noop = dlsym(library, "noop");
  *(void**)&call_add = dlsym(library, "add");
  *(void**)&call_add64 = dlsym(library, "add64");
  *(void**)&call_mul = dlsym(library, "mul");
  *(void**)&call_length = dlsym(library, "length_of");
  *(void**)&call_length32 = dlsym(library, "length32_of");
  *(void**)&call_sum = dlsym(library, "sum_bytes");
  *(void**)&call_sum32 = dlsym(library, "sum32_bytes");
  return NULL;
}

NAPI_MODULE_INIT() {
  const struct {
    const char* name;
    napi_callback callback;
  } functions[] = {
      {"load", Load},         {"noop", Noop},
      {"add", Add},           {"add64", Add64},
      {"mul", Mul},           {"length_of", Length},
      {"sum_bytes", Sum},     {"length32_of", Length32},
      {"sum32_bytes", Sum32}, {"add_later", AddLater},
  };
  for (size_t index = 0; index < sizeof(functions) / sizeof(*functions); ++index) {
    napi_value function;
    napi_create_function(env, functions[index].name, NAPI_AUTO_LENGTH, functions[index].callback,
                         NULL, &function);
    napi_set_named_property(env, exports, functions[index].name, function);
  }
  return exports;
}
