#pragma once

#include <string>

#include "core/elf/file.h"

namespace soswap {

// What a file is to the C library of this process.
enum class CLibraryPart {
  kNone,     // another library
  kOwn,      // a part of the C library that this process runs
  kForeign,  // the core of another C library, which cannot run beside the one of this process
};

// Only the parts of glibc define versions of symbols that are all named GLIBC_…, and other
// libraries that do so to stand in for glibc lie elsewhere. So a part of this process's C library
// is a file with such versions that the loader has loaded under its SONAME, or that lies in the
// directory of the C library. `path` is that of the file. Asks the system only for files with such
// versions. Any thread.
CLibraryPart CLibraryPartOf(const ElfFile& elf, const std::string& path);

// The name under which the loader has loaded the part that is the file at `path`; `path` if it has
// not loaded that. Any thread.
std::string LoadedNameOfPart(const ElfFile& elf, const std::string& path);

}  // namespace soswap
