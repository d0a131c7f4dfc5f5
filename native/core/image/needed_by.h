#pragma once

#include <map>
#include <string>
#include <vector>

namespace soswap {

// Which loaded objects need which, in words for users: an image of soswap, of any thread, goes by
// the path of its library, and a stub object that provides a dependency
// (core/loader/provided_objects.h) is passed over. Any thread.

// The objects that need the one of this loader name.
std::vector<std::string> ObjectsThatNeed(const std::string& loader_name);

// The same for all objects that any other one needs, by loader name.
std::map<std::string, std::vector<std::string>> ObjectsByNeed();

}  // namespace soswap
