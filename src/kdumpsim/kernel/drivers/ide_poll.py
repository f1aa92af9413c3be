# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing to an IDE disk without interrupts, timers or the block layer (LKDTT paper, section 7.3; what diskdump's
drivers had to offer: poll and write, all interrupts off).

The channel is found, reset and driven from nothing, for whoever had it before is not to be trusted.  Data go by the bus
master, whose registers say when it is done.  Only channels at the legacy ports are known, and only drives that can do
DMA with LBA.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import addr, array, cstr, guest, length, ptr, u16, u32, usize
from kdumpsim.kernel.architecture import insw, udelay
from kdumpsim.kernel.block.blk_types import SECTOR_SHIFT, WRITE, Bio, BioVec, Request
from kdumpsim.kernel.core.string import strlcpy
from kdumpsim.kernel.drivers.ide import (
    BAD_STAT,
    BUSY_STAT,
    DRQ_STAT,
    ERR_STAT,
    IDE_COMMAND,
    IDE_DATA,
    IDE_STATUS,
    PRD_ENTRIES,
    READY_STAT,
    WIN_IDENTIFY,
    IdeDrive,
    IdeHwif,
    ide_inb,
    ide_outb,
    ide_reset_channel,
    ide_select,
    ide_wait_stat,
)
from kdumpsim.kernel.drivers.ide_dma import ide_dma_end, ide_dma_setup, ide_dma_start, ide_dma_test_irq
from kdumpsim.kernel.drivers.ide_io import WAIT_READY_MS, ide_write_address, ide_write_command
from kdumpsim.kernel.drivers.ide_probe import ide_identity, ide_read_capacity
from kdumpsim.kernel.drivers.pci import (
    PCI_BASE_ADDRESS_4,
    PCI_CLASS_STORAGE_IDE,
    PCI_NONE,
    pci_find_class,
    pci_io_base,
    pci_set_master,
)
from kdumpsim.kernel.drivers.prd import PrdEntry

POLL_US: Final = 100
WAIT_DMA_POLLS: Final = 10_000_000 // POLL_US
"""Ten seconds, as long as WAIT_CMD."""
WAIT_IDENTIFY_MS: Final = 15000
LBA28_MOST: Final = 256
LBA48_MOST: Final = 4096
"""Sectors of one command."""

poll_hwif: IdeHwif = IdeHwif()
"""The channel as this driver sees it; the interrupt-driven one has its own view."""
poll_table: array[PrdEntry] = length(PRD_ENTRIES, align=4096)
poll_vec: BioVec = BioVec()
poll_bio: Bio = Bio()
poll_rq: Request = Request()


@guest
def ide_poll_identify(hwif: ptr[IdeHwif], drive: ptr[IdeDrive]) -> bool:
    """IDENTIFY DEVICE; False if there is no disk that answers, or none with DMA."""
    ide_select(hwif, drive.unit)
    if not ide_wait_stat(hwif, READY_STAT, BUSY_STAT | DRQ_STAT, WAIT_READY_MS):
        return False
    ide_outb(hwif, WIN_IDENTIFY, IDE_COMMAND)
    if not ide_wait_stat(hwif, DRQ_STAT, BUSY_STAT | ERR_STAT, WAIT_IDENTIFY_MS):
        return False
    insw(hwif.io_base + IDE_DATA, ide_identity, 256)
    ide_inb(hwif, IDE_STATUS)
    ide_read_capacity(drive)
    return drive.using_dma


@guest
def ide_poll_open(name: cstr) -> u32:
    """Find the disk hda to hdd; its size in sectors, or 0 if this driver cannot have it."""
    if name[0] != ord("h") or name[1] != ord("d") or name[2] < ord("a") or name[2] > ord("d") or name[3] != 0:
        return 0
    devfn: u32 = pci_find_class(PCI_CLASS_STORAGE_IDE)
    if devfn == PCI_NONE:
        return 0
    pci_set_master(devfn)
    secondary: u16 = u16(name[2] - ord("a")) >> 1
    hwif: ptr[IdeHwif] = addr(poll_hwif)
    hwif.io_base = 0x170 if secondary else 0x1F0
    hwif.ctl_port = 0x376 if secondary else 0x3F6
    hwif.dma_base = pci_io_base(devfn, PCI_BASE_ADDRESS_4) + 8 * secondary
    hwif.dma_table = poll_table
    drive: ptr[IdeDrive] = hwif.drives[(name[2] - ord("a")) & 1]
    drive.hwif = hwif
    drive.unit = u32(name[2] - ord("a")) & 1
    hwif.drive = drive
    strlcpy(drive.name, name, 8)
    if not ide_reset_channel(hwif) or not ide_poll_identify(hwif, drive):
        return 0
    return drive.capacity


@guest
def ide_poll_write(sector: u32, phys: usize, count: u32) -> bool:
    """One command: `count` sectors from physical memory, no more than ide_poll_most(); False if the disk fails."""
    hwif: ptr[IdeHwif] = addr(poll_hwif)
    drive: ptr[IdeDrive] = hwif.drive
    rq: ptr[Request] = addr(poll_rq)
    poll_vec.bv_phys = phys
    poll_vec.bv_len = count << SECTOR_SHIFT
    poll_bio.bi_vcnt = 1
    poll_bio.bi_io_vec = addr(poll_vec)
    rq.rw = WRITE
    rq.sector = sector
    rq.nr_sectors = count
    rq.bio = addr(poll_bio)
    ide_select(hwif, drive.unit)
    if not ide_wait_stat(hwif, READY_STAT, BUSY_STAT | DRQ_STAT, WAIT_READY_MS) or not ide_dma_setup(hwif, rq):
        return False
    ide_write_address(hwif, drive, rq, drive.lba48)
    ide_outb(hwif, ide_write_command(True, drive.lba48), IDE_COMMAND)
    ide_dma_start(hwif, rq)
    polls: u32 = 0
    while not ide_dma_test_irq(hwif) and polls < WAIT_DMA_POLLS:
        udelay(POLL_US)
        polls += 1
    done = ide_dma_end(hwif)
    return ide_inb(hwif, IDE_STATUS) & BAD_STAT == 0 and done


@guest
def ide_poll_most() -> u32:
    """How many sectors one command takes."""
    return LBA48_MOST if poll_hwif.drive.lba48 else LBA28_MOST
