#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace soswap {

// The path of a library in the cache of ldconfig(8). `cache` has the bytes of /etc/ld.so.cache in
// the format "glibc-ld.so.cache1.1", alone or after the older format; any other or damaged content
// counts as an empty cache. `subdirectories` are the glibc-hwcaps subdirectories for this
// processor, best first. Any thread.
std::optional<std::string> FindInLoaderCache(std::span<const std::byte> cache,
                                             const std::string& name,
                                             const std::vector<std::string>& subdirectories);

}  // namespace soswap
