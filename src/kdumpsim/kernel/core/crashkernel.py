# SPDX-License-Identifier: GPL-2.0-or-later
"""What crashkernel= asks for (parse_crashkernel() of kernel/kexec.c, from 2.6.24 on;
Documentation/kdump/kdump.txt, "Extended crashkernel syntax")."""

from __future__ import annotations

from kdumpsim.compiler.lang import Struct, addr, cstr, guest, i32, ptr, u64
from kdumpsim.kernel.core.cmdline import memparse
from kdumpsim.kernel.core.types import EINVAL


class CrashRegion(Struct):
    """How much memory to reserve, and where; `size` is 0 if none of the ranges holds the system's memory."""

    size: u64
    base: u64
    fixed: bool
    """`base` was given; without it the kernel finds a place."""


@guest
def parse_crashkernel_range(text: cstr, system_ram: u64, region: ptr[CrashRegion], endp: ptr[cstr]) -> i32:
    """START-[END]:SIZE; the first range that holds `system_ram` decides.  `endp` gets what follows."""
    rest: cstr = text
    start: u64 = memparse(text, addr(rest))
    if rest == text or rest[0] != ord("-"):
        return -EINVAL
    word: cstr = rest + 1
    holds = system_ram >= start
    if word[0] != ord(":"):
        end: u64 = memparse(word, addr(rest))
        if rest == word or end <= start:
            return -EINVAL
        holds = holds and system_ram < end
        word = rest
    if word[0] != ord(":"):
        return -EINVAL
    word = word + 1
    size: u64 = memparse(word, addr(rest))
    if rest == word:
        return -EINVAL
    if holds and region.size == 0:
        region.size = size
    endp[0] = rest
    return 0


@guest
def parse_crashkernel(text: cstr, system_ram: u64, region: ptr[CrashRegion]) -> i32:
    """SIZE or START-[END]:SIZE,…, and @START behind either if the place is to be that; -EINVAL for anything else."""
    region.size = 0
    region.base = 0
    region.fixed = False
    rest: cstr = text
    size: u64 = memparse(text, addr(rest))
    if rest == text:
        return -EINVAL
    if rest[0] != ord("-"):
        region.size = size
    else:
        word: cstr = text
        while True:
            if parse_crashkernel_range(word, system_ram, region, addr(rest)) != 0:
                return -EINVAL
            if rest[0] != ord(","):
                break
            word = rest + 1
    if rest[0] == ord("@"):
        place: cstr = rest + 1
        region.base = memparse(place, addr(rest))
        if rest == place:
            return -EINVAL
        region.fixed = True
    return 0 if rest[0] == 0 else -EINVAL
