# SPDX-License-Identifier: GPL-2.0-or-later
"""A crash that strikes anywhere, not where a crash point stands.

``strike TYPE`` in /proc/dtt/ctrl says how.  What makes a CPU call `dtt_strike` between two instructions comes from
outside (a debugger's ``call``, kdumpsim's `faults.instant`), as a probe's detour does: the address of the instruction
that comes next is pushed, and control goes to the stub, which gives everything back if the kernel survives.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import cstr, guest, i32, module_asm, u32
from kdumpsim.kernel.core.types import EINVAL
from kdumpsim.kernel.lkdtt.dtt import dtt_find_type, dtt_induce

strike_kind: u32 = 0
"""The crash type (`CrashType`)."""


@guest
def dtt_strike_now() -> None:
    """The crash, on behalf of whoever was interrupted."""
    dtt_induce(strike_kind, "INSTANT")


@guest
def dtt_set_strike(name: cstr) -> i32:
    """``strike TYPE``"""
    global strike_kind
    kind: i32 = dtt_find_type(name)
    if kind < 0:
        return -EINVAL
    strike_kind = u32(kind)
    return 0


# The frame is a function's own, so that call chains lead on to the code that was struck.
module_asm("""
    .cfi_sections .debug_frame
    .text
    .balign 16
    .globl dtt_strike
    .type dtt_strike, @function
dtt_strike:
    .cfi_startproc
    pushl %ebp
    .cfi_def_cfa_offset 8
    .cfi_offset ebp, -8
    movl %esp, %ebp
    .cfi_def_cfa_register ebp
    pushfl
    pushl %eax
    pushl %ecx
    pushl %edx
    cld
    call dtt_strike_now
    popl %edx
    popl %ecx
    popl %eax
    popfl
    popl %ebp
    .cfi_def_cfa esp, 4
    ret
    .cfi_endproc
    .size dtt_strike, .-dtt_strike
""")
