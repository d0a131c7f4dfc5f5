#pragma once

#include <cstdint>
#include <string>

namespace soswap {

// The text of an error of the system, with the limit of this process that it comes from and the
// amount of it, getrlimit(2).
std::string DescribeWithLimit(int error_number);

// Whether RLIMIT_FSIZE lets this process make files of `size` bytes. To try raises SIGXFSZ, which
// ends a process that does not ignore it, as Node.js does.
bool MayHaveFileOf(uint64_t size);

}  // namespace soswap
