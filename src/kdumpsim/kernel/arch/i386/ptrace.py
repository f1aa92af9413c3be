# SPDX-License-Identifier: GPL-2.0-or-later
"""The registers an entry stub leaves on the stack (include/asm-i386/ptrace.h)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, guest, i32, ptr, u32, usize

EFLAGS_TF: Final = 0x100
EFLAGS_IF: Final = 0x200
EFLAGS_NT: Final = 0x4000
EFLAGS_VM: Final = 0x2_0000


class PtRegs(Struct):
    """struct pt_regs: what SAVE_ALL pushes, lowest address first, then the processor's own frame.

    `esp` and `xss` are there only if the interrupted code ran in ring 3 (SDM vol. 3, 6.12.1).
    """

    ebx: u32
    ecx: u32
    edx: u32
    esi: u32
    edi: u32
    ebp: u32
    eax: u32
    xds: u32
    xes: u32
    orig_eax: i32
    """The interrupt's number less 256, or -1 in an exception."""
    eip: u32
    xcs: u32
    eflags: u32
    esp: u32
    xss: u32


@guest
def user_mode(regs: ptr[PtRegs]) -> bool:
    """Whether the interrupted code ran in ring 3 or in virtual-8086 mode."""
    return (regs.xcs & 3) != 0 or (regs.eflags & EFLAGS_VM) != 0


@guest
def instruction_pointer(regs: ptr[PtRegs]) -> usize:
    """Address of the interrupted instruction."""
    return regs.eip
