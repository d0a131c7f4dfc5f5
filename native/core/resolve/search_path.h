#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/elf/file.h"

namespace soswap {

// How the loader reads DT_RPATH, DT_RUNPATH and DT_NEEDED (ld.so(8), "Dynamic string tokens").
// Any thread.

// The value of $ORIGIN in an object that is loaded by this path: the directory, made absolute but
// otherwise as it is written. Measured: the loader resolves no symbolic link here.
std::string OriginOf(const std::string& path);

// Replaces all tokens; see core/elf/string_tokens.h.
std::string ExpandTokens(std::string_view text, const std::string& origin);

// The directories of a DT_RPATH or DT_RUNPATH, with tokens replaced. An empty one is the current
// directory.
std::vector<std::string> ExpandSearchPath(std::string_view path, const std::string& origin);

// The search path of a file that the loader heeds: it ignores DT_RPATH if there is a DT_RUNPATH
// (gABI, "Dynamic Section"). Part of `facts`; empty if there is none.
std::string_view SearchPathOf(const ElfFacts& facts) noexcept;

}  // namespace soswap
