#include "core/resolve/needed_files.h"

#include "core/resolve/library_search.h"
#include "core/resolve/search_path.h"

namespace soswap {

NeededFiles FindNeededFiles(const std::string& path, std::span<const std::string> needed,
                            const ElfFacts& facts, std::span<const std::string> inherited) {
  const std::string origin = OriginOf(path);
  std::vector<std::string> directories = ExpandSearchPath(SearchPathOf(facts), origin);
  NeededFiles found;
  if (!facts.runpath) {
    directories.insert(directories.end(), inherited.begin(), inherited.end());
    found.inherited = directories;
  }
  for (const std::string& name : needed) {
    if (name.find('/') != std::string::npos) {
      found.paths.push_back(ExpandTokens(name, origin));
    } else {
      found.paths.push_back(SearchDirectories(name, directories).path.value_or(std::string()));
    }
  }
  return found;
}

}  // namespace soswap
