# SPDX-License-Identifier: GPL-2.0-or-later
"""Saving low memory before the next kernel takes it (kdump paper, section 4.3)."""

from __future__ import annotations

from kdumpsim.compiler.lang import guest, ptr, u32, usize

STRIDE = 8
"""Words looked at in one go."""


@guest
def copy_backup_region(source: ptr[u32], target: ptr[u32], size: usize) -> None:
    """Copy `size` bytes (a multiple of 32).

    The target begins as zeros and most of the source is zeros too; what already agrees is not written again,
    since reading two words is several times cheaper than writing one.
    """
    words: u32 = size // 4
    at: u32 = 0
    while at < words:
        s: ptr[u32] = source + at
        t: ptr[u32] = target + at
        differ: u32 = (s[0] ^ t[0]) | (s[1] ^ t[1]) | (s[2] ^ t[2]) | (s[3] ^ t[3])
        differ |= (s[4] ^ t[4]) | (s[5] ^ t[5]) | (s[6] ^ t[6]) | (s[7] ^ t[7])
        if differ != 0:
            t[0] = s[0]
            t[1] = s[1]
            t[2] = s[2]
            t[3] = s[3]
            t[4] = s[4]
            t[5] = s[5]
            t[6] = s[6]
            t[7] = s[7]
        at += STRIDE
