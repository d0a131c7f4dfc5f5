#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace soswap {

// The result of a search, and the places that were searched, in order, for messages.
struct Lookup {
  std::optional<std::string> path;
  std::vector<std::string> looked_in;
};

// The directories that the loader searches for every object of this process (ld.so(8)), as it read
// them when the process began: setenv(3) does not change its LD_LIBRARY_PATH.
struct LoaderPaths {
  std::vector<std::string> program_rpath;    // DT_RPATH of the main program, for all objects
  std::vector<std::string> environment;      // LD_LIBRARY_PATH
  std::vector<std::string> program_runpath;  // DT_RUNPATH of the main program, for itself
  std::vector<std::string> standard;         // /lib, /usr/lib and others of the system
  std::string lib;                           // the value of $LIB; empty if unknown
  std::string platform;                      // the value of $PLATFORM; empty if unknown
};

// Any thread. Asks the loader once; the first call throws Error (kSystem) if StubObject does.
const LoaderPaths& GetLoaderPaths();

// The absolute path of the file that dlopen(3), called by the main program, would load for a name
// without a slash: an object that is loaded under this name, or else the first that a search finds.
// Nothing is loaded, and no code of the library runs. Like the loader, the search skips a file for
// another machine and ends at any other file of that name, even if the loader would then refuse the
// file. Any thread. Throws Error (kNotFound) with the places that were searched.
std::string FindLibrary(const std::string& name);

// Searches only these directories, then the loader's cache and the standard directories. A relative
// directory is relative to the current directory. Any thread.
Lookup SearchLibrary(const std::string& name, std::span<const std::string> directories);

// Searches only these directories.
Lookup SearchDirectories(const std::string& name, std::span<const std::string> directories);

// "looked in /a, /etc/ld.so.cache, /lib"
std::string DescribeSearch(std::span<const std::string> looked_in);

}  // namespace soswap
