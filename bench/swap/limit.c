// The limit of what a swap can cost: dlclose, dlopen, dlsym on the file at a path that alternates
// between two versions. Every swap's effect is looked at.
//
//   limit SETUP
//
// Then a line "N" on standard input makes N swaps, answered by N times in nanoseconds.
// As a shared object it does the same inside of another program, which replaces the file.

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { kFirstValue = 1001, kLongestLine = 4096 };

static struct {
  char* path;
  char* next;  // a name beside it, for the replacement
  char* versions[2];
  int calls;  // the first symbol is a function, not a word of data
  char** symbols;
  void** addresses;
  size_t count;
  void* handle;
  int now;  // which version is loaded
} state;

static void fail(const char* what, const char* why) {
  fprintf(stderr, "limit: %s: %s\n", what, why);
  exit(1);
}

static char* copy_of(const char* text) {
  char* copy = strdup(text);
  if (copy == NULL) fail("strdup", "no memory");
  return copy;
}

static void* loaded(const char* path) {
  void* handle = dlopen(path, RTLD_NOW);
  if (handle == NULL) fail("dlopen", dlerror());
  return handle;
}

// What the version that is loaded says.
int value(void) {
  return state.calls ? ((int (*)(void))state.addresses[0])() : *(const int*)state.addresses[0];
}

static void replace(int version) {
  if (link(state.versions[version], state.next) != 0) fail("link", state.next);
  if (rename(state.next, state.path) != 0) fail("rename", state.path);
}

static void resolve(void) {
  for (size_t i = 0; i < state.count; ++i) {
    state.addresses[i] = dlsym(state.handle, state.symbols[i]);
    if (state.addresses[i] == NULL) fail("dlsym", state.symbols[i]);
  }
}

static void check(void) {
  if (value() != kFirstValue + state.now) fail("swap", "the code is not that of the new file");
}

static void add_symbol(const char* name) {
  state.symbols = realloc(state.symbols, (state.count + 1) * sizeof(char*));
  state.addresses = realloc(state.addresses, (state.count + 1) * sizeof(void*));
  if (state.symbols == NULL || state.addresses == NULL) fail("realloc", "no memory");
  state.symbols[state.count++] = copy_of(name);
}

// Lines of a key and a value: bench/swap/processes.ts writes them.
void read_setup(const char* setup) {
  char line[kLongestLine];
  size_t versions = 0;
  FILE* file = fopen(setup, "r");
  if (file == NULL) fail("open", setup);
  while (fgets(line, sizeof(line), file) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    char* text = strchr(line, ' ');
    if (text == NULL) fail("read", line);
    *text++ = '\0';
    if (strcmp(line, "path") == 0) state.path = copy_of(text);
    if (strcmp(line, "next") == 0) state.next = copy_of(text);
    if (strcmp(line, "version") == 0 && versions < 2) state.versions[versions++] = copy_of(text);
    if (strcmp(line, "kind") == 0) state.calls = strcmp(text, "call") == 0;
    if (strcmp(line, "symbol") == 0) add_symbol(text);
    if (strcmp(line, "other") == 0 || strcmp(line, "needed") == 0) loaded(text);
  }
  fclose(file);
}

void open_first(void) {
  state.handle = loaded(state.path);
  resolve();
  check();
}

// The other version is at the path now. Nanoseconds.
uint64_t swap_once(void) {
  state.now = 1 - state.now;
  struct timespec before;
  struct timespec after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  dlclose(state.handle);
  state.handle = loaded(state.path);
  resolve();
  clock_gettime(CLOCK_MONOTONIC, &after);
  check();
  return (uint64_t)(after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec;
}

int main(int count, char** arguments) {
  if (count != 2) fail("usage", "limit SETUP");
  read_setup(arguments[1]);
  replace(0);
  open_first();
  printf("ready\n");
  fflush(stdout);
  for (char line[kLongestLine]; fgets(line, sizeof(line), stdin) != NULL;) {
    long swaps = atol(line);
    for (long i = 0; i < swaps; ++i) {
      replace(1 - state.now);
      printf("%llu%s", (unsigned long long)swap_once(), i + 1 < swaps ? " " : "\n");
    }
    fflush(stdout);
  }
  return 0;
}
