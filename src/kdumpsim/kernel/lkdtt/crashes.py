# SPDX-License-Identifier: GPL-2.0-or-later
"""The two crash types that need code of their own: hanging, and bloating the stack (LKDTT paper, section 3.2.1)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, addr, array, cstr, guest, i32, length, load_volatile, placed, u8, u32
from kdumpsim.kernel.core.params import ObsKernelParam
from kdumpsim.kernel.core.string import memset, simple_strtoul

REC_BYTES: Final = 1024
"""Stack that a level of the recursion takes, a few words aside."""

rec_num: u32 = 10
"""How deep the recursion goes (dtt.rec_num=): about so many KiB of stack (section 3.3)."""


dtt_lock: u32 = 0
"""A lock that is taken, and that nobody will ever free."""


@guest
def dtt_loop() -> None:
    """Hang as a CPU does after a locking error: it waits for a lock for ever; interrupts stay as they were."""
    while load_volatile(addr(dtt_lock)) == 0:
        pass


@guest
def dtt_overflow(levels: u32) -> u32:
    """Fill 1 KiB of stack and go on to the next; what lies below the stack is overwritten.

    The stack is given back level by level, so the kernel survives if nobody missed what was overwritten.
    """
    filling: array[u8] = length(REC_BYTES, zeroed=False)
    memset(filling, 0xFF, REC_BYTES)
    if levels > 1:
        return dtt_overflow(levels - 1) + filling[0]
    return filling[0]


@guest
def setup_rec_num(value: cstr) -> i32:
    """dtt.rec_num=levels"""
    global rec_num
    rec_num = simple_strtoul(value, NULL, 10)
    return 0


_param_rec_num: ObsKernelParam = placed("setup_params", ObsKernelParam(str="dtt.rec_num=", setup_func=setup_rec_num))
