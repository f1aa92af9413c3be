# SPDX-License-Identifier: GPL-2.0-or-later
"""Resources: ranges of physical addresses and who has them (include/linux/ioport.h)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, cstr, ptr, u32, usize

IORESOURCE_MEM: Final = 0x0000_0200
IORESOURCE_BUSY: Final = 0x8000_0000


class Resource(Struct):
    """A node of a resource tree; `end` is inclusive, children are sorted by address."""

    start: usize
    end: usize
    name: cstr
    flags: u32
    parent: ptr[Resource]
    sibling: ptr[Resource]
    child: ptr[Resource]
