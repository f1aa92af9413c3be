# SPDX-License-Identifier: GPL-2.0-or-later
"""Values on the command line (lib/cmdline.c)."""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, addr, cstr, guest, ptr, u64
from kdumpsim.kernel.core.string import simple_strtoull


@guest
def memparse(s: cstr, endp: ptr[cstr]) -> u64:
    """A number with an optional K, M or G; `endp` gets the first byte after it."""
    end: cstr = s
    value = simple_strtoull(s, addr(end), 0)
    if end[0] == ord("K") or end[0] == ord("k"):
        value <<= 10
        end = end + 1
    elif end[0] == ord("M") or end[0] == ord("m"):
        value <<= 20
        end = end + 1
    elif end[0] == ord("G") or end[0] == ord("g"):
        value <<= 30
        end = end + 1
    if endp != NULL:
        endp[0] = end
    return value
