#pragma once

#include "core/bind/bound_imports.h"

namespace soswap {

// dlopen(3) and its family for the code of images. A private copy lies in no directory and carries
// a name that is no path: with these its code finds the library as if the file were loaded.
//
// - dladdr, dladdr1, dl_iterate_phdr, and dlinfo's RTLD_DI_LINKMAP and RTLD_DI_ORIGIN report the
//   path of the library for every image of soswap.
// - dlopen and dlmopen search for a bare name by the DT_RUNPATH or DT_RPATH of the image that calls
//   them, and expand $ORIGIN to the directory of its library. The path or DT_SONAME of the library
//   itself means the image that calls, whatever file lies there by now.
//
// The caller is the object that the call returns to, as in glibc. All else is left to the C
// library. They are for images of this process, on any thread, in constructors too: no lock of
// soswap is held while the loader is asked.
const BoundImports& LoaderFunctions();

}  // namespace soswap
