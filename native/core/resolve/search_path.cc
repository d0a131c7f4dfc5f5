#include "core/resolve/search_path.h"

#include <unistd.h>

#include <algorithm>
#include <climits>

#include "core/resolve/library_search.h"

namespace soswap {
namespace {

constexpr std::string_view kOrigin = "ORIGIN";

bool ContinuesName(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// The length of the token that begins at `at`, with its dollar sign and braces; 0 if it is another
// one. Measured: $ORIGINS and ${ORIGIN are plain text.
size_t TokenLength(std::string_view text, size_t at, std::string_view name) {
  const std::string_view rest = text.substr(at + 1);
  if (rest.starts_with('{')) {
    const bool matches =
        rest.substr(1).starts_with(name) && rest.substr(1 + name.size()).starts_with('}');
    return matches ? name.size() + std::string_view("${}").size() : 0;
  }
  const bool longer = rest.size() > name.size() && ContinuesName(rest[name.size()]);
  return rest.starts_with(name) && !longer ? name.size() + 1 : 0;
}

std::string Replace(std::string_view text, std::string_view name, const std::string& value) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const size_t length = text[at] == '$' ? TokenLength(text, at, name) : 0;
    if (length == 0) {
      result += text[at++];
    } else {
      result += value;
      at += length;
    }
  }
  return result;
}

}  // namespace

std::string OriginOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  std::string directory = slash == std::string::npos ? "." : path.substr(0, slash);
  if (directory.empty()) return "/";
  if (directory.starts_with('/')) return directory;
  char current[PATH_MAX];
  return std::string(getcwd(current, sizeof current) != nullptr ? current : "") + "/" + directory;
}

bool UsesOrigin(std::string_view text) {
  for (size_t at = text.find('$'); at != std::string_view::npos; at = text.find('$', at + 1)) {
    if (TokenLength(text, at, kOrigin) != 0) return true;
  }
  return false;
}

std::string ReplaceOrigin(std::string_view text, const std::string& origin) {
  return Replace(text, kOrigin, origin);
}

std::string ExpandTokens(std::string_view text, const std::string& origin) {
  const LoaderPaths& loader = GetLoaderPaths();
  const std::string located = ReplaceOrigin(text, origin);
  return Replace(Replace(located, "LIB", loader.lib), "PLATFORM", loader.platform);
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

}  // namespace soswap
