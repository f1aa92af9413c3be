# SPDX-License-Identifier: GPL-2.0-or-later
"""The workload ``dmaread``: keeps the root disk's DMA busy with long reads into memory, one behind the other.

A read of a mebibyte takes longer than a kernel needs to die, so that the disk still writes to memory when the next
kernel takes over.  Two places of the disk are read in turn into the same buffer: what comes late is not what was there.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, cast, guest, i32, placed, ptr, u8, u32, void
from kdumpsim.kernel.block.bio import rw_kernel
from kdumpsim.kernel.block.blk_types import READ
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.types import ENODEV, ENOMEM
from kdumpsim.kernel.fs.toyfs import toyfs_root
from kdumpsim.kernel.mm.page_alloc import __get_free_pages
from kdumpsim.kernel.testing.workload import Workload

BUFFER_ORDER: Final = 8
SECTORS: Final = 8 << BUFFER_ORDER
"""Of one read: 1 MiB."""


@guest
def dmaread(argument: ptr[void]) -> i32:
    """The thread."""
    if toyfs_root.bdev == NULL:
        return -ENODEV
    buffer = cast(ptr[u8], __get_free_pages(BUFFER_ORDER))
    if buffer == NULL:
        return -ENOMEM
    sectors: u32 = min(SECTORS, toyfs_root.bdev.bd_queue.max_sectors)
    error: i32 = 0
    number: u32 = 0
    while error == 0:
        error = rw_kernel(toyfs_root.bdev, READ, number % 2 * sectors, buffer, sectors)
        number += 1
    printk(f"<3>dmaread: read {number} failed: error {-error}\n")
    return error


_workload_dmaread: Workload = placed("workloads", Workload(name="dmaread", main=dmaread))
