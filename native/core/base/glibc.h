#pragma once

#include <features.h>

#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

#include <charconv>
#include <optional>
#include <string_view>

namespace soswap {

// The minor version of the glibc 2 that this process runs; nothing with another C library.
inline std::optional<unsigned> GlibcMinor() {
#ifdef __GLIBC__
  const std::string_view version = ::gnu_get_libc_version();
  const std::string_view prefix = "2.";
  unsigned minor = 0;
  const char* const end = version.data() + version.size();
  if (version.starts_with(prefix) &&
      std::from_chars(version.data() + prefix.size(), end, minor).ec == std::errc()) {
    return minor;
  }
#endif
  return std::nullopt;
}

}  // namespace soswap
