#include "allocation_failure.h"

#include <dlfcn.h>
#include <link.h>

#include <cstddef>
#include <cstdlib>

namespace {

thread_local int allocations_left = 0;  // until one fails; 0: none will

void* Allocate(std::size_t size) {
  if (allocations_left > 0 && --allocations_left == 0) throw std::bad_alloc();
  void* memory = std::malloc(size > 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// ThreadSanitizer calls dl_iterate_phdr(3) before anything else works.
#ifndef __SANITIZE_THREAD__

namespace {

using Visit = int (*)(dl_phdr_info* info, std::size_t size, void* data);

// A C library need not have what unwinding needs: an exception that would pass through it ends the
// test.
int IterateWithoutExceptions(Visit visit, void* data) noexcept {
  static const auto iterate =
      reinterpret_cast<int (*)(Visit, void*)>(dlsym(RTLD_NEXT, "dl_iterate_phdr"));
  return iterate(visit, data);
}

}  // namespace

extern "C" int dl_iterate_phdr(Visit visit, void* data) {
  return IterateWithoutExceptions(visit, data);
}

#endif

// These serve all objects of the test program, those of libstdc++ too.
void* operator new(std::size_t size) { return Allocate(size); }
void* operator new[](std::size_t size) { return Allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t /*size*/) noexcept { std::free(memory); }

namespace soswap::test {

FailingAllocation::FailingAllocation(int number) noexcept { allocations_left = number; }

FailingAllocation::~FailingAllocation() { allocations_left = 0; }

bool FailingAllocation::happened() const noexcept { return allocations_left == 0; }

}  // namespace soswap::test
