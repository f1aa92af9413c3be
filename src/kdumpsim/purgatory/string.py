# SPDX-License-Identifier: GPL-2.0-or-later
"""The functions LLVM may call by itself (``docs/guest-language.md``, Memory); no code is shared with a kernel."""

from __future__ import annotations

from kdumpsim.compiler.lang import cast, guest, ptr, store_volatile, u8, u32, usize, void


@guest
def memset(target: ptr[void], value: u32, count: usize) -> ptr[void]:
    """Fill; the volatile store keeps LLVM from turning the loop into a call of this function."""
    out = cast(ptr[u8], target)
    for i in range(count):
        store_volatile(out + i, u8(value))
    return target


@guest
def memcpy(target: ptr[void], source: ptr[void], count: usize) -> ptr[void]:
    """Copy between places that do not overlap."""
    out = cast(ptr[u8], target)
    data = cast(ptr[u8], source)
    for i in range(count):
        store_volatile(out + i, data[i])
    return target
