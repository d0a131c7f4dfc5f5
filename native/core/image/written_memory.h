#pragma once

#include <link.h>

#include <cstdint>
#include <vector>

#include "core/base/file_descriptor.h"

namespace soswap {

// A range of addresses, of whole pages.
struct AddressRange {
  uintptr_t start = 0;
  uintptr_t end = 0;
};

// Where an object can write. Called by the loader's iteration, dl_iterate_phdr(3).
std::vector<AddressRange> WritableRanges(const dl_phdr_info& info);

// Counts the memory that an object has for itself beside the file that it is mapped from: pages
// that the loader has relocated, and static variables that were set.
class WrittenMemory final {
 public:
  WrittenMemory();

  // Bytes of the pages in these ranges that were written, in memory or swapped out. Where the
  // system does not show that, all of them. Reads 8 bytes of /proc/self/pagemap (proc(5)) for each
  // page.
  uint64_t In(const std::vector<AddressRange>& ranges) const;

 private:
  FileDescriptor pages_;
};

}  // namespace soswap
