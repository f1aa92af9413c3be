# SPDX-License-Identifier: GPL-2.0-or-later
"""Bus master DMA of the PIIX (Programming Interface for Bus Master IDE Controller, revision 1.0; Linux ide-dma.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpsim.compiler.lang import guest, ptr, u8, u32, usize
from kdumpsim.kernel.architecture import inb, outb, outl, pa
from kdumpsim.kernel.block.blk_types import READ
from kdumpsim.kernel.drivers.ide import (
    DMA_CMD_START,
    DMA_CMD_TO_MEMORY,
    DMA_COMMAND,
    DMA_STAT_ACTIVE,
    DMA_STAT_ERR,
    DMA_STAT_INTR,
    DMA_STATUS,
    DMA_TABLE,
    PRD_ENTRIES,
    IdeHwif,
)
from kdumpsim.kernel.drivers.prd import prd_fill

if TYPE_CHECKING:
    from kdumpsim.kernel.block.blk_types import Request


@guest
def ide_dma_setup(hwif: ptr[IdeHwif], rq: ptr["Request"]) -> bool:
    """Point the bus master to the request's memory; it does not start yet."""
    if not prd_fill(hwif.dma_table, PRD_ENTRIES, rq.bio):
        return False
    outl(u32(pa(usize(hwif.dma_table))), hwif.dma_base + DMA_TABLE)
    outb(DMA_CMD_TO_MEMORY if rq.rw == READ else 0, hwif.dma_base + DMA_COMMAND)
    status: u8 = inb(hwif.dma_base + DMA_STATUS)
    outb(status | DMA_STAT_INTR | DMA_STAT_ERR, hwif.dma_base + DMA_STATUS)
    return True


@guest
def ide_dma_start(hwif: ptr[IdeHwif], rq: ptr["Request"]) -> None:
    """Let the bus master go; the drive has the command."""
    hwif.waiting_for_dma = True
    outb((DMA_CMD_TO_MEMORY if rq.rw == READ else 0) | DMA_CMD_START, hwif.dma_base + DMA_COMMAND)


@guest
def ide_dma_end(hwif: ptr[IdeHwif]) -> bool:
    """Stop the bus master and acknowledge; True if all went well."""
    hwif.waiting_for_dma = False
    outb(0, hwif.dma_base + DMA_COMMAND)
    status: u8 = inb(hwif.dma_base + DMA_STATUS)
    outb(status | DMA_STAT_INTR | DMA_STAT_ERR, hwif.dma_base + DMA_STATUS)
    return status & (DMA_STAT_INTR | DMA_STAT_ERR | DMA_STAT_ACTIVE) == DMA_STAT_INTR


@guest
def ide_dma_test_irq(hwif: ptr[IdeHwif]) -> bool:
    """Has the channel raised its interrupt?"""
    return inb(hwif.dma_base + DMA_STATUS) & DMA_STAT_INTR != 0
