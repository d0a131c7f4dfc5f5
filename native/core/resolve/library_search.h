#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace soswap {

// The outcome of a search, and the places it went to, in the loader's order, for messages.
struct Lookup {
  std::optional<std::string> path;
  std::vector<std::string> looked_in;
};

// The directories the loader searches in this process, whatever object asks (ld.so(8)). As the
// loader read them when the process began: setenv(3) does not change LD_LIBRARY_PATH for it.
struct LoaderPaths {
  std::vector<std::string> program_rpath;  // DT_RPATH of the main program, which serves all objects
  std::vector<std::string> environment;    // LD_LIBRARY_PATH
  std::vector<std::string> program_runpath;  // DT_RUNPATH of the main program, which serves itself
  std::vector<std::string> standard;         // /lib, /usr/lib, and what the system adds
  std::string lib;                           // what $LIB stands for; empty if unknown
  std::string platform;                      // what $PLATFORM stands for; empty if unknown
};

// Any thread. Asks the loader once; the first call throws Error (kSystem) if StubObject does.
const LoaderPaths& GetLoaderPaths();

// The absolute path of the file that dlopen(3), called by the main program, would load for a name
// without a slash: an object that is loaded under this name, or else the first that a search finds.
// Nothing is loaded and no code of the library runs. A file for another machine is passed over, as
// the loader does; the first other file of that name ends the search even if the loader would then
// refuse it. Any thread. Throws Error (kNotFound) that says where it searched.
std::string FindLibrary(const std::string& name);

// The search alone, in these directories, then in the loader's cache and the standard directories.
// A relative directory means the one below the current directory. Any thread.
Lookup SearchLibrary(const std::string& name, std::span<const std::string> directories);

// "looked in /a, /etc/ld.so.cache, /lib"
std::string DescribeSearch(std::span<const std::string> looked_in);

}  // namespace soswap
