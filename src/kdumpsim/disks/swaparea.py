# SPDX-License-Identifier: GPL-2.0-or-later
"""mkswap on the host: the swap area after the file system of the system disk.

The layout is mkswap's version 1 (mkswap(8), include/linux/swap.h of Linux 2.6): the first page holds, after 1024 bytes
for boot loaders, the version and the number of the last page, and the signature in its last ten bytes.
"""

from __future__ import annotations

import struct

from kdumpsim.disks.toyfs import SECTOR, SectorWriter
from kdumpsim.target import PAGE_SIZE

SIGNATURE = b"SWAPSPACE2"
VERSION = 1
BOOT_BITS = 1024


def mkswap(target: SectorWriter, first_sector: int, sectors: int) -> None:
    """Make the sectors from `first_sector` on a swap area; the kernel looks for one after the end of its root."""
    pages = sectors * SECTOR // PAGE_SIZE
    if pages < 10:
        raise ValueError(f"a swap area needs 10 pages, {sectors} sectors are {pages}")
    header = bytearray(PAGE_SIZE)
    struct.pack_into("<3I", header, BOOT_BITS, VERSION, pages - 1, 0)
    header[-len(SIGNATURE) :] = SIGNATURE
    target.write(first_sector, bytes(header))
