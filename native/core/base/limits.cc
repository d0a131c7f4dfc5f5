#include "core/base/limits.h"

#include <sys/resource.h>

#include <cerrno>
#include <cstring>

namespace soswap {
namespace {

// The one that applies, not the one that it can be raised to. RLIM_INFINITY: none.
template <typename Resource>
rlim_t CurrentLimit(Resource resource) {
  rlimit limit{};
  return getrlimit(resource, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

template <typename Resource>
std::string Describe(const char* name, Resource resource, const char* unit) {
  const rlim_t limit = CurrentLimit(resource);
  if (limit == RLIM_INFINITY) return {};
  return std::string(" (") + name + " is " + std::to_string(limit) + unit + ")";
}

std::string LimitBehind(int error_number) {
  switch (error_number) {
    case EFBIG:
      return Describe("RLIMIT_FSIZE", RLIMIT_FSIZE, " bytes");
    case EMFILE:
      return Describe("RLIMIT_NOFILE", RLIMIT_NOFILE, "");
    case ENOMEM: {
      const std::string limit = Describe("RLIMIT_AS", RLIMIT_AS, " bytes");
      return limit.empty() ? " (of the machine, or of the memory cgroup)" : limit;
    }
    default:
      return {};
  }
}

}  // namespace

std::string DescribeWithLimit(int error_number) {
  return std::strerror(error_number) + LimitBehind(error_number);
}

bool MayHaveFileOf(uint64_t size) {
  const rlim_t limit = CurrentLimit(RLIMIT_FSIZE);
  return limit == RLIM_INFINITY || size <= limit;
}

}  // namespace soswap
