#pragma once

#include <string>
#include <string_view>

namespace soswap {

// Tokens such as $ORIGIN and ${ORIGIN} in DT_NEEDED, DT_RPATH and DT_RUNPATH (ld.so(8), "Dynamic
// string tokens"). Any thread.

// Replaces a token, named without its dollar sign.
std::string ReplaceToken(std::string_view text, std::string_view token, const std::string& value);

bool UsesOrigin(std::string_view text);

// Replaces $ORIGIN and leaves the other tokens to the loader.
std::string ReplaceOrigin(std::string_view text, const std::string& origin);

}  // namespace soswap
