# SPDX-License-Identifier: GPL-2.0-or-later
"""IDE: registers, drives and channels (ATA/ATAPI-6; Intel 82371SB, section 4.2; names of Linux drivers/ide)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, array, cstr, fn, guest, length, ptr, u8, u16, u32
from kdumpsim.kernel.architecture import inb, mdelay, outb, udelay
from kdumpsim.kernel.block.blk_types import Bio, BlockDevice, Request, RequestQueue
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.spinlock import Spinlock
from kdumpsim.kernel.core.timer_types import TimerList
from kdumpsim.kernel.drivers.prd import PrdEntry

# Command block, offsets from the channel's base (ATA/ATAPI-6, section 7).
IDE_DATA: Final = 0
IDE_ERROR: Final = 1
IDE_NSECTOR: Final = 2
IDE_SECTOR: Final = 3
IDE_LCYL: Final = 4
IDE_HCYL: Final = 5
IDE_SELECT: Final = 6
IDE_STATUS: Final = 7
IDE_COMMAND: Final = 7

ERR_STAT: Final = 0x01
DRQ_STAT: Final = 0x08
SEEK_STAT: Final = 0x10
WRERR_STAT: Final = 0x20
READY_STAT: Final = 0x40
BUSY_STAT: Final = 0x80
BAD_STAT: Final = BUSY_STAT | DRQ_STAT | WRERR_STAT | ERR_STAT

CTL_NIEN: Final = 0x02
CTL_SRST: Final = 0x04
CTL_DEFAULT: Final = 0x08
SELECT_LBA: Final = 0xE0

WIN_READ: Final = 0x20
WIN_READ_EXT: Final = 0x24
WIN_READDMA_EXT: Final = 0x25
WIN_WRITE: Final = 0x30
WIN_WRITE_EXT: Final = 0x34
WIN_WRITEDMA_EXT: Final = 0x35
WIN_READDMA: Final = 0xC8
WIN_WRITEDMA: Final = 0xCA
WIN_IDENTIFY: Final = 0xEC

# Bus master registers, offsets from the channel's half of BAR 4 (82371SB, section 2.3.1).
DMA_COMMAND: Final = 0
DMA_STATUS: Final = 2
DMA_TABLE: Final = 4
DMA_CMD_START: Final = 0x01
DMA_CMD_TO_MEMORY: Final = 0x08
DMA_STAT_ACTIVE: Final = 0x01
DMA_STAT_ERR: Final = 0x02
DMA_STAT_INTR: Final = 0x04

PRD_ENTRIES: Final = 512
LBA28_SECTORS: Final = 0x10000000
MAX_DRIVES: Final = 2
MAX_HWIFS: Final = 2


class IdeDrive(Struct):
    """A disk on a channel."""

    name: array[u8] = length(8)
    model: array[u8] = length(44)
    hwif: ptr["IdeHwif"]
    unit: u32
    present: bool
    using_dma: bool
    lba48: bool
    capacity: u32
    queue: RequestQueue
    bdev: BlockDevice


class IdeHwif(Struct):
    """A channel: one command at a time, for either drive.  `lock` also guards the drives' queues."""

    name: array[u8] = length(8)
    index: u32
    io_base: u16
    ctl_port: u16
    dma_base: u16
    irq: u32
    lock: Spinlock
    drives: array[IdeDrive] = length(MAX_DRIVES)
    next_unit: u32
    rq: ptr[Request]
    drive: ptr[IdeDrive]
    handler: fn[[ptr["IdeHwif"]], None]
    waiting_for_dma: bool
    timer: TimerList
    dma_table: ptr[PrdEntry]
    pio_bio: ptr[Bio]
    pio_vec: u32
    pio_offset: u32
    pio_left: u32


ide_hwifs: array[IdeHwif] = length(MAX_HWIFS)


@guest
def ide_inb(hwif: ptr[IdeHwif], register: u16) -> u8:
    """Read a register of the command block."""
    return inb(hwif.io_base + register)


@guest
def ide_outb(hwif: ptr[IdeHwif], value: u8, register: u16) -> None:
    """Write a register of the command block."""
    outb(value, hwif.io_base + register)


@guest
def ide_alt_status(hwif: ptr[IdeHwif]) -> u8:
    """The status, without acknowledging the interrupt."""
    return inb(hwif.ctl_port)


@guest
def ide_delay_400ns(hwif: ptr[IdeHwif]) -> None:
    """Time for a selected drive to answer, or for BSY to rise after a command: four reads on the bus."""
    for _ in range(4):
        inb(hwif.ctl_port)


@guest
def ide_wait_stat(hwif: ptr[IdeHwif], good: u8, bad: u8, milliseconds: u32) -> bool:
    """Poll until every bit of `good` is set and none of `bad`, or the time is over (Linux ide_wait_stat)."""
    patience: u32 = milliseconds * 10
    while True:
        status: u8 = ide_alt_status(hwif)
        if status & (good | bad) == good:
            return True
        if patience == 0:
            return False
        patience -= 1
        udelay(100)


@guest
def ide_select(hwif: ptr[IdeHwif], unit: u32) -> None:
    """Select a drive of the channel."""
    ide_outb(hwif, u8(SELECT_LBA | (unit << 4)), IDE_SELECT)
    ide_delay_400ns(hwif)


@guest
def ide_reset_channel(hwif: ptr[IdeHwif]) -> bool:
    """Stop bus mastering and reset both drives by SRST (ATA/ATAPI-6, section 9.2); False if BSY stays."""
    if hwif.dma_base != 0:
        outb(0, hwif.dma_base + DMA_COMMAND)
        outb(DMA_STAT_INTR | DMA_STAT_ERR, hwif.dma_base + DMA_STATUS)
    outb(CTL_DEFAULT | CTL_SRST | CTL_NIEN, hwif.ctl_port)
    udelay(10)
    outb(CTL_DEFAULT | CTL_NIEN, hwif.ctl_port)
    mdelay(2)
    ready: bool = ide_wait_stat(hwif, 0, BUSY_STAT, 31000)
    ide_inb(hwif, IDE_STATUS)
    outb(CTL_DEFAULT, hwif.ctl_port)
    return ready


@guest
def ide_dump_status(drive: ptr[IdeDrive], msg: cstr, status: u8) -> None:
    """Print status and error register in words."""
    printk(f"<4>{drive.name:s}: {msg:s}: status=0x{status:02x} {{ ")
    if status & BUSY_STAT:
        printk("Busy ")
    else:
        if status & READY_STAT:
            printk("DriveReady ")
        if status & WRERR_STAT:
            printk("DeviceFault ")
        if status & SEEK_STAT:
            printk("SeekComplete ")
        if status & DRQ_STAT:
            printk("DataRequest ")
        if status & ERR_STAT:
            printk("Error ")
    printk("}\n")
    if status & (BUSY_STAT | ERR_STAT) == ERR_STAT:
        error: u8 = ide_inb(drive.hwif, IDE_ERROR)
        printk(f"<4>{drive.name:s}: {msg:s}: error=0x{error:02x}\n")
