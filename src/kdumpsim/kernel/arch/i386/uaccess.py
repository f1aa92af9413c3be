# SPDX-License-Identifier: GPL-2.0-or-later
"""Access to user memory from system calls (arch/i386/lib/usercopy.c, arch/i386/mm/extable.c).

A user address may lie in no region, or need a page.  Its faults are resolved as if the user had touched it; what cannot
be resolved goes on at a fix-up given by the exception table.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, cast, extern, guest, i32, module_asm, ptr, section, u8, u32, usize, void
from kdumpsim.kernel.arch.i386.page import PAGE_OFFSET
from kdumpsim.kernel.arch.i386.ptrace import PtRegs
from kdumpsim.kernel.core.types import EFAULT, ENAMETOOLONG

CHUNK: Final = 16

module_asm(f"""
    .cfi_sections .debug_frame
    .text

    # __copy_user(to, from, count): how many bytes could not be copied
    .balign 16
    .globl __copy_user
    .type __copy_user, @function
__copy_user:
    .cfi_startproc
    movl 4(%esp), %ecx
    movl 8(%esp), %edx
1:  subl ${CHUNK}, 12(%esp)
    jb 2f
10: movl 0(%edx), %eax
    movl %eax, 0(%ecx)
    movl 4(%edx), %eax
    movl %eax, 4(%ecx)
    movl 8(%edx), %eax
    movl %eax, 8(%ecx)
    movl 12(%edx), %eax
    movl %eax, 12(%ecx)
11: addl ${CHUNK}, %edx
    addl ${CHUNK}, %ecx
    jmp 1b
2:  addl ${CHUNK}, 12(%esp)
3:  subl $1, 12(%esp)
    jb 4f
20: movb (%edx), %al
    movb %al, (%ecx)
21: incl %edx
    incl %ecx
    jmp 3b
4:  xorl %eax, %eax
    ret
12: addl ${CHUNK - 1}, 12(%esp)         # fix-up of a chunk: none of it counts
22: addl $1, 12(%esp)
    movl 12(%esp), %eax
    ret
    .cfi_endproc
    .size __copy_user, . - __copy_user

    .section __ex_table, "a"
    .balign 4
    .long 10b, 11b, 12b
    .long 20b, 21b, 22b
    .text
""")


class ExceptionTableEntry(Struct):
    """Code from `start` up to `end` touches user memory; a fault that nobody can resolve goes on at `fixup`."""

    start: u32
    end: u32
    fixup: u32


@extern
def __copy_user(to: ptr[void], source: ptr[void], count: usize) -> usize:
    """Copy where either side may fault; how many bytes were left."""
    ...


@guest
def fixup_exception(regs: ptr[PtRegs]) -> bool:
    """Whether code that may fault on user memory did; it goes on at its fix-up."""
    for entry in section("__ex_table", ExceptionTableEntry):
        if regs.eip >= entry.start and regs.eip < entry.end:
            regs.eip = entry.fixup
            return True
    return False


@guest
def access_ok(address: usize, size: usize) -> bool:
    """Whether a range lies below the kernel; it may still not be there."""
    return size <= PAGE_OFFSET and address <= PAGE_OFFSET - size


@guest
def copy_from_user(to: ptr[void], source: usize, count: usize) -> usize:
    """Copy from a user's address; how many bytes could not be copied."""
    if not access_ok(source, count):
        return count
    return __copy_user(to, cast(ptr[void], source), count)


@guest
def copy_to_user(to: usize, source: ptr[void], count: usize) -> usize:
    """Copy to a user's address; how many bytes could not be copied."""
    if not access_ok(to, count):
        return count
    return __copy_user(cast(ptr[void], to), source, count)


@guest
def strncpy_from_user(to: ptr[u8], source: usize, size: usize) -> i32:
    """Copy a user's NUL-terminated string; its length, -EFAULT, or -ENAMETOOLONG if it does not fit in `size`."""
    for i in range(size):
        if copy_from_user(to + i, source + i, 1) != 0:
            return -EFAULT
        if to[i] == 0:
            return i32(i)
    return -ENAMETOOLONG
