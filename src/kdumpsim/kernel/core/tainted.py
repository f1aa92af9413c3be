# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether this kernel is to be trusted (kernel/panic.c of 2.6.16)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import array, cstr, guest, length, u8, u32
from kdumpsim.kernel.core.string import strlcpy, strlen

TAINT_TEXT: Final = 20
TAINT_LETTERS: Final[cstr] = "PFSRMB"
NR_TAINTS: Final = 6
TAINT_BAD_PAGE: Final = 1 << 5
"""A page was freed that was not in use."""

tainted: u32 = 0
"""TAINT_ bits, by number the letters of TAINT_LETTERS (/proc/sys/kernel/tainted)."""
taint_text: array[u8] = length(TAINT_TEXT)


@guest
def add_taint(flag: u32) -> None:
    """Something happened after which nothing is sure."""
    global tainted
    tainted |= flag


@guest
def print_tainted() -> cstr:
    """The taints in letters, as an oops shows them, or that there are none."""
    if tainted == 0:
        return "Not tainted"
    strlcpy(taint_text, "Tainted: ", TAINT_TEXT)
    at = strlen(taint_text)
    for bit in range(NR_TAINTS):
        clear: u8 = ord("G") if bit == 0 else ord(" ")
        taint_text[at + bit] = TAINT_LETTERS[bit] if tainted >> bit & 1 else clear
    taint_text[at + NR_TAINTS] = 0
    return taint_text
