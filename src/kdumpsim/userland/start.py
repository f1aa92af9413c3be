# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a program starts: the stack holds argc and the argument pointers (System V ABI i386, figure 3-31)."""

from __future__ import annotations

from kdumpsim.compiler.lang import cstr, extern, guest, i32, module_asm, ptr, u32
from kdumpsim.userland.lib import exit

module_asm("""
    .cfi_sections .debug_frame
    .text
    .globl _start
    .type _start, @function
_start:
    .cfi_startproc
    .cfi_undefined eip
    xorl %ebp, %ebp
    movl (%esp), %eax
    leal 4(%esp), %ecx
    pushl %ecx
    pushl %eax
    call start_main
    ud2
    .cfi_endproc
    .size _start, . - _start
""")


@extern
def main(argc: u32, argv: ptr[cstr]) -> i32:
    """The program."""
    ...


@guest
def start_main(argc: u32, argv: ptr[cstr]) -> None:
    """Run the program and end the process with what it returned."""
    exit(main(argc, argv))
