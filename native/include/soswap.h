/*
 * soswap.h: what a shared object can say and ask when soswap loads, replaces and unloads it.
 *
 * Nothing is linked. A library that exports none of these names is swapped all the same; it then
 * starts from nothing at each swap. C99, C++11. docs/state.md has examples, and one in Rust.
 */
#ifndef SOSWAP_H
#define SOSWAP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of what this file declares. It changes when a library must be compiled anew. */
#define SOSWAP_ABI 1

/*
 * What a hook gets. Valid until the hook returns, on the thread that calls the hook. Later versions
 * of soswap add members at the end; `size` tells which ones there are.
 */
typedef struct soswap_host soswap_host;
struct soswap_host {
  uint32_t abi;           /* SOSWAP_ABI of soswap */
  uint32_t size;          /* bytes of this structure in soswap */
  uint32_t generation;    /* of the image: 1 for the first one of a handle; 0 for one of a trial */
  uint32_t state_version; /* of `state`, as it was given to save() */
  const char *path;       /* the path of the library */

  /*
   * soswap_load: the state that the image before handed over, or that the program gave; null if
   * there is none. The bytes are gone when the hook returns. In the other hooks: null.
   */
  const void *state;
  size_t state_size;

  /*
   * soswap_save: hands a copy of these bytes over to the next image; a second call replaces the
   * first. At most 1 GiB. Does nothing in the other hooks.
   */
  void (*save)(const soswap_host *host, const void *state, size_t size, uint32_t version);

  /*
   * Refuses, with a sentence for people: the swap fails, and the old image goes on with its state.
   * The hook must still return. The first sentence counts.
   */
  void (*refuse)(const soswap_host *host, const char *sentence);

  /* One line for people: the diagnostics channel soswap:log, and NODE_DEBUG=soswap. */
  void (*log)(const soswap_host *host, const char *line);

  /*
   * Memory that outlives the image, of malloc(3): null if there is none. A state may point to it.
   * Any image, or free(3), releases it.
   */
  void *(*allocate)(size_t size);
  void (*release)(void *memory);
};

/*
 * The hooks. Each is optional. They run on the thread of the handle, and not while another hook of
 * the same image runs.
 *
 * soswap_save    before another image takes over, with the image still running: with open-first,
 *                calls on other threads may be under way. Also when the program asks for the state.
 * soswap_load    after the constructors, before any call.
 * soswap_unload  once for each soswap_load, before the destructors, when no call is in flight.
 */
__attribute__((visibility("default"))) void soswap_save(const soswap_host *host);
__attribute__((visibility("default"))) void soswap_load(const soswap_host *host);
__attribute__((visibility("default"))) void soswap_unload(const soswap_host *host);

#ifndef SOSWAP_NO_ABI
/* What the library was compiled with. soswap reads it before it calls a hook. */
extern const uint32_t soswap_abi[2] __attribute__((visibility("default"), weak));
const uint32_t soswap_abi[2] = {SOSWAP_ABI, (uint32_t)sizeof(soswap_host)};
#endif

/* A variable that is carried over. */
typedef struct soswap_kept {
  void *address;
  uint64_t size;
  uint64_t layout;
} soswap_kept;

#ifdef __cplusplus
}
#define SOSWAP_LINKAGE extern "C"
#else
#define SOSWAP_LINKAGE extern
#endif

/*
 * SOSWAP_KEEP(variable); after the definition of a variable with static storage: the next image
 * begins with its value, if it keeps a variable of the same name, size and layout. A value must not
 * point into the image. Give a variable another layout number when its meaning changes but not its
 * size:
 *
 *   static struct counters counters;
 *   SOSWAP_KEEP_LAYOUT(counters, 2);
 */
#define SOSWAP_KEEP(variable) SOSWAP_KEEP_LAYOUT(variable, 0)
#define SOSWAP_KEEP_LAYOUT(variable, number)                                                      \
  SOSWAP_LINKAGE const soswap_kept soswap_keep_##variable __attribute__((visibility("default"))); \
  const soswap_kept soswap_keep_##variable = {&(variable), sizeof(variable), number}

#endif
