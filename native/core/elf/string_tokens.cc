#include "core/elf/string_tokens.h"

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

}  // namespace

std::string ReplaceToken(std::string_view text, std::string_view token, const std::string& value) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const size_t length = text[at] == '$' ? TokenLength(text, at, token) : 0;
    if (length == 0) {
      result += text[at++];
    } else {
      result += value;
      at += length;
    }
  }
  return result;
}

bool UsesOrigin(std::string_view text) {
  for (size_t at = text.find('$'); at != std::string_view::npos; at = text.find('$', at + 1)) {
    if (TokenLength(text, at, kOrigin) != 0) return true;
  }
  return false;
}

std::string ReplaceOrigin(std::string_view text, const std::string& origin) {
  return ReplaceToken(text, kOrigin, origin);
}

}  // namespace soswap
