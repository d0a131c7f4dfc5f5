// CallResult soswap_call(void* address, const uint64_t* words, size_t stack_count,
//                        size_t floating_count);
//
// See call_frame.h. The unwind information is right at every instruction, so a C++ exception thrown
// by the called function reaches our caller. Both calling conventions hand a function's results over
// in the very registers in which CallResult is returned (on arm64 after one move).

#if defined(__x86_64__)

#if defined(__CET__)
#include <cet.h>
#endif

        .text
        .globl  soswap_call
        .hidden soswap_call
        .type   soswap_call, @function
        .p2align 4
soswap_call:
        .cfi_startproc
        endbr64
        pushq   %rbp
        .cfi_def_cfa_offset 16
        .cfi_offset %rbp, -16
        movq    %rsp, %rbp
        .cfi_def_cfa_register %rbp
        movq    %rdi, %r11              // address
        movq    %rsi, %r10              // words
        movl    %ecx, %eax              // %al: vector registers in use, as variadic functions want
        testq   %rdx, %rdx
        jnz     .Lstack
.Lregisters:
        testl   %eax, %eax
        jz      .Lintegers
        movsd   48(%r10), %xmm0
        movsd   56(%r10), %xmm1
        movsd   64(%r10), %xmm2
        movsd   72(%r10), %xmm3
        movsd   80(%r10), %xmm4
        movsd   88(%r10), %xmm5
        movsd   96(%r10), %xmm6
        movsd   104(%r10), %xmm7
.Lintegers:
        movq    0(%r10), %rdi
        movq    8(%r10), %rsi
        movq    16(%r10), %rdx
        movq    24(%r10), %rcx
        movq    32(%r10), %r8
        movq    40(%r10), %r9
        call    *%r11
        .cfi_remember_state
        leave                           // %rax and %xmm0 are the result as they are
        .cfi_def_cfa %rsp, 8
        .cfi_restore %rbp
        ret

        .cfi_restore_state
.Lstack:
        leaq    1(%rdx), %rcx           // the stack stays aligned to 16 bytes
        andq    $-2, %rcx
        shlq    $3, %rcx
        subq    %rcx, %rsp
.Lcopy:
        movq    104(%r10,%rdx,8), %rcx  // words[14 + index - 1], the last one first
        movq    %rcx, -8(%rsp,%rdx,8)
        decq    %rdx
        jnz     .Lcopy
        jmp     .Lregisters
        .cfi_endproc
        .size   soswap_call, .-soswap_call

#elif defined(__aarch64__)

        .text
        .globl  soswap_call
        .hidden soswap_call
        .type   soswap_call, %function
        .p2align 4
soswap_call:
        .cfi_startproc
        hint    #34                     // bti c
        stp     x29, x30, [sp, #-16]!
        .cfi_def_cfa_offset 16
        .cfi_offset x29, -16
        .cfi_offset x30, -8
        mov     x29, sp
        .cfi_def_cfa x29, 16
        mov     x16, x0                 // address
        mov     x17, x1                 // words
        cbnz    x2, .Lstack
.Lregisters:
        cbz     x3, .Lintegers
        ldp     d0, d1, [x17, #64]
        ldp     d2, d3, [x17, #80]
        ldp     d4, d5, [x17, #96]
        ldp     d6, d7, [x17, #112]
.Lintegers:
        ldp     x0, x1, [x17]
        ldp     x2, x3, [x17, #16]
        ldp     x4, x5, [x17, #32]
        ldp     x6, x7, [x17, #48]
        blr     x16
        fmov    x1, d0                  // CallResult is returned in x0 and x1
        mov     sp, x29
        .cfi_remember_state
        ldp     x29, x30, [sp], #16
        .cfi_def_cfa sp, 0
        .cfi_restore x29
        .cfi_restore x30
        ret

        .cfi_restore_state
.Lstack:
        add     x4, x2, #1              // the stack stays aligned to 16 bytes
        and     x4, x4, #-2
        sub     sp, sp, x4, lsl #3
        add     x5, x17, #128
.Lcopy:
        sub     x2, x2, #1
        ldr     x6, [x5, x2, lsl #3]
        str     x6, [sp, x2, lsl #3]
        cbnz    x2, .Lcopy
        b       .Lregisters
        .cfi_endproc
        .size   soswap_call, .-soswap_call

#endif

        .section .note.GNU-stack, "", %progbits
