#pragma once

#include <elf.h>

#include <bit>

namespace soswap::elf {

// The values in the ELF header of a file that this process can load.
#if defined(__x86_64__)
inline constexpr Elf64_Half kOwnMachine = EM_X86_64;
#elif defined(__aarch64__)
inline constexpr Elf64_Half kOwnMachine = EM_AARCH64;
#else
#error "soswap runs on x86-64 and AArch64"
#endif

inline constexpr unsigned char kOwnByteOrder =
    std::endian::native == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB;

}  // namespace soswap::elf
