# SPDX-License-Identifier: GPL-2.0-or-later
"""INT 0x80: number in EAX, arguments in EBX, ECX, EDX, ESI, EDI; the result comes in EAX."""

from __future__ import annotations

from kdumpsim.compiler.lang import extern, guest, i32, module_asm, u32, usize

module_asm("""
    .cfi_sections .debug_frame
    .text
    .globl syscall5
    .type syscall5, @function
syscall5:
    .cfi_startproc
    pushl %ebx
    .cfi_adjust_cfa_offset 4
    .cfi_rel_offset ebx, 0
    pushl %esi
    .cfi_adjust_cfa_offset 4
    .cfi_rel_offset esi, 0
    pushl %edi
    .cfi_adjust_cfa_offset 4
    .cfi_rel_offset edi, 0
    movl 16(%esp), %eax
    movl 20(%esp), %ebx
    movl 24(%esp), %ecx
    movl 28(%esp), %edx
    movl 32(%esp), %esi
    movl 36(%esp), %edi
    int $0x80
    popl %edi
    .cfi_adjust_cfa_offset -4
    .cfi_restore edi
    popl %esi
    .cfi_adjust_cfa_offset -4
    .cfi_restore esi
    popl %ebx
    .cfi_adjust_cfa_offset -4
    .cfi_restore ebx
    ret
    .cfi_endproc
    .size syscall5, . - syscall5
""")


@extern
def syscall5(number: u32, a: usize, b: usize, c: usize, d: usize, e: usize) -> i32:
    """A system call with five arguments; a negative errno is an error."""
    ...


@guest
def syscall3(number: u32, a: usize, b: usize, c: usize) -> i32:
    """A system call with up to three arguments."""
    return syscall5(number, a, b, c, 0, 0)
