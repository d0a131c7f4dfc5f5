#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace soswap {

// Returns a name by which dlopen(3) opens the file behind this descriptor. Every name is new to the
// process: dlopen compares a name with those of all loaded objects first and would return an older
// image of that name, and the system reuses descriptor numbers. Any thread.
std::string NewLoaderName(int descriptor);

// Checks that names which NewLoaderName() returns lead to their files: that /proc is mounted, and
// shows this process. Takes one system call, usually. Any thread. Throws Error, kNoProc, about
// `subject`.
void AssertNamesLead(int descriptor, const std::string& subject);

// The number that is spelled into a name which NewLoaderName() of this copy of the addon gave out,
// and into no other; 0 for any other name. Takes no lock and no memory.
uint64_t NumberOfLoaderName(std::string_view name) noexcept;

// Whether an object of this name was opened through a descriptor. Nobody can replace its file.
inline bool IsLoaderNameOfDescriptor(std::string_view name) { return name.starts_with("/proc/"); }

}  // namespace soswap
