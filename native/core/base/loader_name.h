#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace soswap {

// Names by which dlopen(3) opens a file that has no path of its own, through its descriptor.
// dlopen compares a name with those of all loaded objects first, and would return an older image
// that carries it: so no name is ever given out twice in one process, although descriptor numbers
// come back. Any thread.
std::string NewLoaderName(int descriptor);

// The number that is spelled into a name which NewLoaderName() of this copy of the addon gave out,
// and into no other; 0 for any other name. Takes no lock and no memory.
uint64_t NumberOfLoaderName(std::string_view name) noexcept;

// Whether the name is one of these, and not the path of a file that somebody can replace.
inline bool IsLoaderNameOfDescriptor(std::string_view name) { return name.starts_with("/proc/"); }

}  // namespace soswap
