#include "core/resolve/search_path.h"

#include <algorithm>

#include "core/base/path.h"
#include "core/elf/string_tokens.h"
#include "core/resolve/library_search.h"

namespace soswap {

std::string OriginOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  std::string directory = slash == std::string::npos ? "." : path.substr(0, slash);
  if (directory.empty()) return "/";
  if (directory.starts_with('/')) return directory;
  return CurrentDirectory() + "/" + directory;
}

std::string ExpandTokens(std::string_view text, const std::string& origin) {
  const LoaderPaths& loader = GetLoaderPaths();
  const std::string located = ReplaceToken(ReplaceOrigin(text, origin), "LIB", loader.lib);
  return ReplaceToken(located, "PLATFORM", loader.platform);
}

std::vector<std::string> ExpandSearchPath(std::string_view path, const std::string& origin) {
  std::vector<std::string> directories;
  if (path.empty()) return directories;
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find(':', start), path.size());
    directories.push_back(ExpandTokens(path.substr(start, end - start), origin));
    start = end + 1;
  }
  return directories;
}

std::string_view SearchPathOf(const ElfFacts& facts) noexcept {
  if (facts.runpath) return *facts.runpath;
  return facts.rpath ? std::string_view(*facts.rpath) : std::string_view();
}

}  // namespace soswap
