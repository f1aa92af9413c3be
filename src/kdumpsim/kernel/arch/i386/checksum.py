# SPDX-License-Identifier: GPL-2.0-or-later
"""The sum behind the Internet checksum (RFC 1071), by additions with carry (arch/i386/lib/checksum.S in small).

It pushes nothing, as string.py's functions.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import extern, module_asm, ptr, u8, u32, usize

module_asm("""
    .cfi_sections .debug_frame
    .text
    .balign 16
    .globl csum_partial
    .type csum_partial, @function
csum_partial:
    .cfi_startproc
    movl 4(%esp), %edx
    movl 8(%esp), %ecx
    movl 12(%esp), %eax
    shrl $2, %ecx
    jz 2f
    clc
1:  adcl (%edx), %eax
    leal 4(%edx), %edx
    decl %ecx
    jnz 1b
    adcl $0, %eax
2:  testl $2, 8(%esp)
    jz 3f
    movzwl (%edx), %ecx
    addl $2, %edx
    addl %ecx, %eax
    adcl $0, %eax
3:  testl $1, 8(%esp)
    jz 4f
    movzbl (%edx), %ecx
    addl %ecx, %eax
    adcl $0, %eax
4:  ret
    .cfi_endproc
    .size csum_partial, . - csum_partial
""")


@extern
def csum_partial(data: ptr[u8], count: usize, sum: u32) -> u32:
    """Add bytes to a sum under way: 16-bit words as they lie in memory, in ones' complement, not yet folded."""
    ...
