#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace soswap {

// Where ldconfig(8) says a library of this machine is. `cache` holds the bytes of /etc/ld.so.cache
// in the format "glibc-ld.so.cache1.1", alone or behind the older one; anything else, and any
// damage, is an empty cache. `subdirectories` are the glibc-hwcaps ones this processor may use,
// best first. Any thread; reads nothing but its arguments.
std::optional<std::string> FindInLoaderCache(std::span<const std::byte> cache,
                                             const std::string& name,
                                             const std::vector<std::string>& subdirectories);

}  // namespace soswap
