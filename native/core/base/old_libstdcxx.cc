// One binary for every system from the libstdc++ of GCC 8 on. What a newer compiler would bind to a
// newer version of it is defined here, hidden, by means that are older. It concerns the shared
// object alone that it is linked into; tools/check-versions finds what is missing here.

#include <features.h>

#if defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))

#include <new>
#include <typeinfo>

#pragma GCC visibility push(hidden)

// Since glibc 2.32; std::shared_ptr counts without atomic instructions where it is true.
extern const char single_threaded __asm__("__libc_single_threaded");
const char single_threaded = 0;

// Since GCC 11.
[[noreturn]] void ThrowBadArrayNewLength() __asm__("_ZSt28__throw_bad_array_new_lengthv");
void ThrowBadArrayNewLength() { throw std::bad_array_new_length(); }

// Since GCC 9: std::make_shared() without RTTI asks it whether a type is one from code that has
// RTTI.
bool IsMakeSharedTag(const std::type_info& type) noexcept
    __asm__("_ZNSt19_Sp_make_shared_tag5_S_eqERKSt9type_info");
bool IsMakeSharedTag(const std::type_info& /*type*/) noexcept { return false; }

#pragma GCC visibility pop

#endif
