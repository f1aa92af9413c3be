# SPDX-License-Identifier: GPL-2.0-or-later
"""IDE requests: starting them, interrupts, timeouts, errors (after Linux ide-io.c, ide-disk.c and ide-dma.c)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, cast, cstr, fn, guest, i32, placed, ptr, u8, u16, u32, usize, void
from kdumpsim.kernel.architecture import PAGE_SIZE, PtRegs, insw, kmap_atomic_pfn, kunmap_atomic, outsw
from kdumpsim.kernel.block.blk_types import READ, SECTOR_SIZE, Bio, BioVec, Request, RequestQueue
from kdumpsim.kernel.block.queue import elv_next_request, end_request
from kdumpsim.kernel.core.config import HZ
from kdumpsim.kernel.core.irq_types import IRQ_HANDLED, IRQ_NONE
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.spinlock import spin_lock_irq, spin_lock_irqsave, spin_unlock_irq, spin_unlock_irqrestore
from kdumpsim.kernel.core.timer import del_timer, jiffies, mod_timer
from kdumpsim.kernel.core.types import EIO
from kdumpsim.kernel.drivers.ide import (
    BAD_STAT,
    BUSY_STAT,
    DRQ_STAT,
    ERR_STAT,
    IDE_COMMAND,
    IDE_DATA,
    IDE_HCYL,
    IDE_LCYL,
    IDE_NSECTOR,
    IDE_SECTOR,
    IDE_SELECT,
    IDE_STATUS,
    LBA28_SECTORS,
    MAX_DRIVES,
    READY_STAT,
    SELECT_LBA,
    WIN_READ,
    WIN_READ_EXT,
    WIN_READDMA,
    WIN_READDMA_EXT,
    WIN_WRITE,
    WIN_WRITE_EXT,
    WIN_WRITEDMA,
    WIN_WRITEDMA_EXT,
    WRERR_STAT,
    IdeDrive,
    IdeHwif,
    ide_alt_status,
    ide_dump_status,
    ide_inb,
    ide_outb,
    ide_reset_channel,
    ide_select,
    ide_wait_stat,
)
from kdumpsim.kernel.drivers.ide_dma import ide_dma_end, ide_dma_setup, ide_dma_start, ide_dma_test_irq
from kdumpsim.kernel.lkdtt.cpoint import CrashPoint, cpoint

WAIT_CMD: Final = 10 * HZ
"""How long a command may take before the timer looks after it (Linux WAIT_CMD)."""
WAIT_READY_MS: Final = 50
ERROR_MAX: Final = 4
"""Attempts before a request fails."""
ERROR_RESET: Final = 2
"""Failed attempts after which the channel is reset and the drive goes on without DMA."""


@guest
def ide_set_handler(hwif: ptr[IdeHwif], handler: fn[[ptr[IdeHwif]], None]) -> None:
    """Expect an interrupt, and guard it by the timer."""
    hwif.handler = handler
    mod_timer(hwif.timer, jiffies + WAIT_CMD)


@guest
def ide_write_address(hwif: ptr[IdeHwif], drive: ptr[IdeDrive], rq: ptr[Request], lba48: bool) -> None:
    """Write count and LBA to the command block; the 48-bit form takes two rounds, high bytes first."""
    if lba48:
        ide_outb(hwif, u8((rq.nr_sectors >> 8) & 0xFF), IDE_NSECTOR)
        ide_outb(hwif, u8(rq.sector >> 24), IDE_SECTOR)
        ide_outb(hwif, 0, IDE_LCYL)
        ide_outb(hwif, 0, IDE_HCYL)
    ide_outb(hwif, u8(rq.nr_sectors & 0xFF), IDE_NSECTOR)
    ide_outb(hwif, u8(rq.sector & 0xFF), IDE_SECTOR)
    ide_outb(hwif, u8((rq.sector >> 8) & 0xFF), IDE_LCYL)
    ide_outb(hwif, u8((rq.sector >> 16) & 0xFF), IDE_HCYL)
    top: u32 = 0 if lba48 else (rq.sector >> 24) & 0xF
    ide_outb(hwif, u8(SELECT_LBA | (drive.unit << 4) | top), IDE_SELECT)


@guest
def ide_read_command(dma: bool, lba48: bool) -> u8:
    """The read command for a way of transfer and an address form."""
    if dma:
        return WIN_READDMA_EXT if lba48 else WIN_READDMA
    return WIN_READ_EXT if lba48 else WIN_READ


@guest
def ide_write_command(dma: bool, lba48: bool) -> u8:
    """The write command for a way of transfer and an address form."""
    if dma:
        return WIN_WRITEDMA_EXT if lba48 else WIN_WRITEDMA
    return WIN_WRITE_EXT if lba48 else WIN_WRITE


IDE_CORE_CP: CrashPoint = placed(
    "cpoints",
    CrashPoint(
        name="IDE_CORE_CP",
        help="IDE: ide_start_request; registered before it is armed",
        needs="combined_mode=ide",
        dynamic=50,
    ),
)


@guest
def ide_start_request(hwif: ptr[IdeHwif]) -> None:
    """Give the drive the command of hwif.rq (Linux start_request and __ide_do_rw_disk).  Lock held.

    As in 2.6.16 other interrupts are let in while the drive is selected: hwif.rq keeps the channel reserved, the
    lock is dropped.  Here lies IDE_CORE_CP.
    """
    drive: ptr[IdeDrive] = hwif.drive
    rq: ptr[Request] = hwif.rq
    spin_unlock_irq(hwif.lock)
    cpoint(IDE_CORE_CP)
    ide_select(hwif, drive.unit)
    ready: bool = ide_wait_stat(hwif, READY_STAT, BUSY_STAT | DRQ_STAT, WAIT_READY_MS)
    spin_lock_irq(hwif.lock)
    if not ready:
        printk(f"<4>{drive.name:s}: drive not ready for command\n")
        ide_error(hwif, "status timeout", ide_alt_status(hwif))
        return
    lba48: bool = drive.lba48 and (rq.nr_sectors > 256 or rq.sector + rq.nr_sectors > LBA28_SECTORS)
    dma: bool = drive.using_dma and ide_dma_setup(hwif, rq)
    ide_write_address(hwif, drive, rq, lba48)
    if dma:
        ide_set_handler(hwif, ide_dma_intr)
        ide_outb(hwif, ide_read_command(True, lba48) if rq.rw == READ else ide_write_command(True, lba48), IDE_COMMAND)
        ide_dma_start(hwif, rq)
        return
    hwif.pio_bio = rq.bio
    hwif.pio_vec = 0
    hwif.pio_offset = 0
    hwif.pio_left = rq.nr_sectors
    if rq.rw == READ:
        ide_set_handler(hwif, ide_read_intr)
        ide_outb(hwif, ide_read_command(False, lba48), IDE_COMMAND)
        return
    ide_outb(hwif, ide_write_command(False, lba48), IDE_COMMAND)
    if not ide_wait_stat(hwif, DRQ_STAT, BUSY_STAT | ERR_STAT, WAIT_READY_MS):
        ide_error(hwif, "no DRQ after issuing WRITE", ide_inb(hwif, IDE_STATUS))
        return
    ide_set_handler(hwif, ide_write_intr)
    ide_pio_sector(hwif)


@guest
def ide_do_request(hwif: ptr[IdeHwif]) -> None:
    """Start the next request of the channel, if it is idle; its drives take turns.  Lock held."""
    if hwif.rq != NULL:
        return
    for _ in range(MAX_DRIVES):
        drive: ptr[IdeDrive] = hwif.drives[hwif.next_unit]
        hwif.next_unit = (hwif.next_unit + 1) % MAX_DRIVES
        if not drive.present:
            continue
        rq: ptr[Request] = elv_next_request(drive.queue)
        if rq != NULL:
            hwif.drive = drive
            hwif.rq = rq
            ide_start_request(hwif)
            return


@guest
def do_ide_request(q: ptr[RequestQueue]) -> None:
    """The queues' request_fn."""
    drive = cast(ptr[IdeDrive], q.queuedata)
    ide_do_request(drive.hwif)


@guest
def ide_end_request(hwif: ptr[IdeHwif], error: i32) -> None:
    """The current request is done; go on with the next.  Lock held."""
    rq: ptr[Request] = hwif.rq
    hwif.rq = NULL
    end_request(rq, error)
    ide_do_request(hwif)


@guest
def ide_error(hwif: ptr[IdeHwif], msg: cstr, status: u8) -> None:
    """A request failed: try again, then reset the channel and try without DMA, then give up.  Lock held."""
    drive: ptr[IdeDrive] = hwif.drive
    rq: ptr[Request] = hwif.rq
    ide_dump_status(drive, msg, status)
    rq.errors += 1
    if rq.errors >= ERROR_MAX:
        ide_end_request(hwif, -EIO)
        return
    if rq.errors == ERROR_RESET or status & (BUSY_STAT | DRQ_STAT):
        ok: bool = ide_reset_channel(hwif)
        printk(f"<4>{hwif.name:s}: reset: {'success' if ok else 'timed out':s}\n")
        if drive.using_dma:
            printk(f"<4>{drive.name:s}: DMA disabled\n")
            drive.using_dma = False
    ide_start_request(hwif)


@guest
def ide_dma_intr(hwif: ptr[IdeHwif]) -> None:
    """End of a DMA command."""
    ok: bool = ide_dma_end(hwif)
    status: u8 = ide_inb(hwif, IDE_STATUS)
    if ok and status & (READY_STAT | BAD_STAT) == READY_STAT:
        ide_end_request(hwif, 0)
        return
    if not ok:
        printk(f"<4>{hwif.drive.name:s}: dma_intr: bad DMA status\n")
    ide_error(hwif, "dma_intr", status)


@guest
def ide_pio_sector(hwif: ptr[IdeHwif]) -> None:
    """Move one sector between the data port and the request's memory."""
    left: u32 = SECTOR_SIZE
    port: u16 = hwif.io_base + IDE_DATA
    while left != 0:
        bio: ptr[Bio] = hwif.pio_bio
        vec: ptr[BioVec] = bio.bi_io_vec[hwif.pio_vec]
        phys: usize = vec.bv_phys + hwif.pio_offset
        offset = u32(phys & (PAGE_SIZE - 1))
        piece: u32 = min(left, min(vec.bv_len - hwif.pio_offset, PAGE_SIZE - offset))
        memory: usize = usize(kmap_atomic_pfn(phys // PAGE_SIZE)) + offset
        if bio.bi_rw == READ:
            insw(port, cast(ptr[void], memory), piece // 2)
        else:
            outsw(port, cast(ptr[void], memory), piece // 2)
        kunmap_atomic()
        left -= piece
        hwif.pio_offset += piece
        if hwif.pio_offset == vec.bv_len:
            hwif.pio_offset = 0
            hwif.pio_vec += 1
            if hwif.pio_vec == bio.bi_vcnt:
                hwif.pio_vec = 0
                hwif.pio_bio = bio.bi_next
    hwif.pio_left -= 1


@guest
def ide_read_intr(hwif: ptr[IdeHwif]) -> None:
    """PIO read: a sector waits in the drive's buffer."""
    status: u8 = ide_inb(hwif, IDE_STATUS)
    if status & (DRQ_STAT | BUSY_STAT | WRERR_STAT | ERR_STAT) != DRQ_STAT:
        ide_error(hwif, "read_intr", status)
        return
    ide_pio_sector(hwif)
    if hwif.pio_left == 0:
        ide_end_request(hwif, 0)
    else:
        ide_set_handler(hwif, ide_read_intr)


@guest
def ide_write_intr(hwif: ptr[IdeHwif]) -> None:
    """PIO write: the drive took a sector; it wants the next, or is done."""
    status: u8 = ide_inb(hwif, IDE_STATUS)
    wanted: u8 = 0 if hwif.pio_left == 0 else DRQ_STAT
    if status & BAD_STAT != wanted:
        ide_error(hwif, "write_intr", status)
        return
    if hwif.pio_left == 0:
        ide_end_request(hwif, 0)
        return
    ide_pio_sector(hwif)
    ide_set_handler(hwif, ide_write_intr)


@guest
def ide_ready_for_handler(hwif: ptr[IdeHwif]) -> bool:
    """Is the command that is waited for really through? (Linux drive_is_ready)"""
    if hwif.waiting_for_dma:
        return ide_dma_test_irq(hwif)
    return ide_alt_status(hwif) & BUSY_STAT == 0


@guest
def ide_intr(irq: u32, dev_id: ptr[void], regs: ptr[PtRegs]) -> u32:
    """IRQ 14 and 15.  One that nobody expects is acknowledged by reading the status, as Linux does for PCI."""
    hwif = cast(ptr[IdeHwif], dev_id)
    result: u32 = IRQ_NONE
    flags = spin_lock_irqsave(hwif.lock)
    if hwif.handler == NULL:
        ide_inb(hwif, IDE_STATUS)
    elif ide_ready_for_handler(hwif):
        handler: fn[[ptr[IdeHwif]], None] = hwif.handler
        hwif.handler = NULL
        del_timer(hwif.timer)
        handler(hwif)
        result = IRQ_HANDLED
    spin_unlock_irqrestore(hwif.lock, flags)
    return result


@guest
def ide_timer_expiry(data: usize) -> None:
    """A command took too long: an interrupt was lost, or the drive hangs (Linux ide_timer_expiry)."""
    hwif = cast(ptr[IdeHwif], data)
    flags = spin_lock_irqsave(hwif.lock)
    handler: fn[[ptr[IdeHwif]], None] = hwif.handler
    if handler != NULL:
        hwif.handler = NULL
        if ide_ready_for_handler(hwif):
            printk(f"<4>{hwif.drive.name:s}: lost interrupt\n")
            handler(hwif)
        elif hwif.waiting_for_dma:
            printk(f"<4>{hwif.drive.name:s}: DMA timeout error\n")
            ide_dma_end(hwif)
            hwif.rq.errors = ERROR_RESET - 1
            ide_error(hwif, "dma timeout error", ide_inb(hwif, IDE_STATUS))
        else:
            ide_error(hwif, "irq timeout", ide_inb(hwif, IDE_STATUS))
    spin_unlock_irqrestore(hwif.lock, flags)
