# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding the IDE channels and their disks (after Linux ide-probe.c and pci/piix.c).

A capture kernel meets a controller that nobody shut down: a transfer may be under way, an interrupt
pending, a drive busy.  Told by the option ``reset_devices`` (kexec-tools append it), the driver stops the
bus master and resets each channel before it touches anything else.  Without it, it does what a 2.6.16 kernel
does: wait for BSY to go away, then ask who is there.  A transfer that ends by itself is survived this way, and so is
an interrupt nobody has acknowledged; a drive that waits for the rest of a command's data is not found.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, array, cast, cstr, fn, guest, i32, length, placed, ptr, u8, u16, u32, usize
from kdumpsim.kernel.architecture import insw, outb
from kdumpsim.kernel.block.bio import add_disk
from kdumpsim.kernel.block.blk_types import BlockDevice
from kdumpsim.kernel.block.queue import blk_init_queue
from kdumpsim.kernel.core.config import HZ
from kdumpsim.kernel.core.irq import request_irq
from kdumpsim.kernel.core.irq_types import SA_SHIRQ
from kdumpsim.kernel.core.params import ObsKernelParam
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.spinlock import spin_lock_init
from kdumpsim.kernel.core.string import strcmp
from kdumpsim.kernel.core.timer import init_timer, jiffies, msleep, time_after_eq
from kdumpsim.kernel.core.vsprintf import snprintf
from kdumpsim.kernel.drivers.ata_piix import libata_has_primary
from kdumpsim.kernel.drivers.ide import (
    BUSY_STAT,
    CTL_DEFAULT,
    CTL_NIEN,
    DRQ_STAT,
    ERR_STAT,
    IDE_COMMAND,
    IDE_DATA,
    IDE_HCYL,
    IDE_LCYL,
    IDE_SELECT,
    IDE_STATUS,
    MAX_DRIVES,
    PRD_ENTRIES,
    READY_STAT,
    WIN_IDENTIFY,
    WRERR_STAT,
    IdeDrive,
    IdeHwif,
    ide_alt_status,
    ide_delay_400ns,
    ide_hwifs,
    ide_inb,
    ide_outb,
    ide_reset_channel,
)
from kdumpsim.kernel.drivers.ide_io import do_ide_request, ide_intr, ide_timer_expiry
from kdumpsim.kernel.drivers.pci import (
    PCI_BASE_ADDRESS_4,
    PCI_CLASS_STORAGE_IDE,
    PCI_NONE,
    pci_find_class,
    pci_read_config_dword,
    pci_set_master,
)
from kdumpsim.kernel.drivers.prd import PrdEntry
from kdumpsim.kernel.mm.page_alloc import __get_free_pages

WAIT_BSY_MS: Final = 35000
WAIT_IDENTIFY_MS: Final = 15000
"""Half of WAIT_WORSTCASE."""
BREATHER_MS: Final = 20
SELECT_OBSOLETE: Final = 0xA0
"""Bits of the select register that are always set; LBA is not asked for."""

# Words of the IDENTIFY DEVICE data (ATA/ATAPI-6, section 8.15).
ID_MODEL: Final = 27
ID_CAPABILITY: Final = 49
ID_LBA_SECTORS: Final = 60
ID_COMMAND_SET_2: Final = 83
ID_LBA48_SECTORS: Final = 100

reset_devices: bool = False
ide_nodma: bool = False
ide_identity: array[u16] = length(256)


@guest
def reset_devices_setup(rest: cstr) -> i32:
    """``reset_devices``: drivers shall not trust the state they find devices in."""
    global reset_devices
    reset_devices = True
    return 1


@guest
def ide_setup(rest: cstr) -> i32:
    """``ide=nodma``: programmed input and output only."""
    global ide_nodma
    if strcmp(rest, "nodma") == 0:
        ide_nodma = True
        return 1
    return 0


@guest
def ide_fix_string(to: ptr[u8], words: ptr[u16], count: u32) -> None:
    """An IDENTIFY string: two characters a word, the first one high; trailing blanks are cut."""
    end: u32 = 0
    for i in range(count):
        to[2 * i] = u8(words[i] >> 8)
        to[2 * i + 1] = u8(words[i] & 0xFF)
    for i in range(2 * count):
        if to[i] > ord(" "):
            end = i + 1
    to[end] = 0


@guest
def ide_wait_not_busy(hwif: ptr[IdeHwif], milliseconds: u32) -> bool:
    """Sleep until BSY is clear, or the time is over."""
    end: u32 = jiffies + milliseconds * HZ // 1000
    while ide_alt_status(hwif) & BUSY_STAT:
        if time_after_eq(jiffies, end):
            return False
        msleep(BREATHER_MS)
    return True


@guest
def ide_probe_select(hwif: ptr[IdeHwif], unit: u32) -> u8:
    """Select a drive nothing is known of; what was written."""
    select: u8 = u8(SELECT_OBSOLETE | (unit << 4))
    ide_outb(hwif, select, IDE_SELECT)
    ide_delay_400ns(hwif)
    return select


@guest
def wait_hwif_ready(hwif: ptr[IdeHwif]) -> bool:
    """Wait for both drives: this is all that 2.6.16 does about a channel somebody else may have left busy."""
    if not ide_wait_not_busy(hwif, WAIT_BSY_MS):
        return False
    for unit in range(MAX_DRIVES):
        ide_probe_select(hwif, unit)
        outb(CTL_DEFAULT, hwif.ctl_port)
        if not ide_wait_not_busy(hwif, WAIT_BSY_MS):
            return False
    return True


@guest
def try_to_identify(hwif: ptr[IdeHwif], drive: ptr[IdeDrive]) -> bool:
    """IDENTIFY DEVICE, polled; True if data came (Linux actual_try_to_identify)."""
    ide_outb(hwif, WIN_IDENTIFY, IDE_COMMAND)
    ide_delay_400ns(hwif)
    if not ide_wait_not_busy(hwif, WAIT_IDENTIFY_MS):
        printk(f"<4>{drive.name:s}: IDENTIFY timed out\n")
        return False
    status: u8 = ide_inb(hwif, IDE_STATUS)
    if status & ERR_STAT:
        if ide_inb(hwif, IDE_LCYL) == 0x14 and ide_inb(hwif, IDE_HCYL) == 0xEB:
            printk(f"<6>{drive.name:s}: ATAPI device, ignored\n")
        return False
    if status & (DRQ_STAT | WRERR_STAT) != DRQ_STAT:
        return False
    insw(hwif.io_base + IDE_DATA, ide_identity, 256)
    ide_inb(hwif, IDE_STATUS)
    return True


@guest
def do_probe(hwif: ptr[IdeHwif], drive: ptr[IdeDrive]) -> bool:
    """Is there an ATA disk?  (Linux do_probe)

    A drive whose select register does not hold what was written is taken for absent.  So is one that the first
    kernel has left in the middle of a transfer, waiting for data: while DRQ is set it takes no register writes.
    """
    select: u8 = ide_probe_select(hwif, drive.unit)
    if ide_inb(hwif, IDE_SELECT) != select:
        return False
    status: u8 = ide_inb(hwif, IDE_STATUS)
    if status & (READY_STAT | BUSY_STAT) != READY_STAT:
        return False
    if not try_to_identify(hwif, drive) and not try_to_identify(hwif, drive):
        return False
    if ide_identity[ID_CAPABILITY] & 0x0200 == 0:
        printk(f"<4>{drive.name:s}: no LBA, ignored\n")
        return False
    return True


@guest
def ide_read_capacity(drive: ptr[IdeDrive]) -> None:
    """Size and abilities from the IDENTIFY data; more than 2 TiB does not fit sector_t."""
    drive.capacity = u32(ide_identity[ID_LBA_SECTORS]) | (u32(ide_identity[ID_LBA_SECTORS + 1]) << 16)
    drive.lba48 = ide_identity[ID_COMMAND_SET_2] & 0xC400 == 0x4400
    if drive.lba48:
        low: u32 = u32(ide_identity[ID_LBA48_SECTORS]) | (u32(ide_identity[ID_LBA48_SECTORS + 1]) << 16)
        if ide_identity[ID_LBA48_SECTORS + 2] != 0:
            low = 0xFFFFFFFF
        drive.capacity = max(drive.capacity, low)
    drive.using_dma = drive.hwif.dma_base != 0 and ide_identity[ID_CAPABILITY] & 0x0100 != 0 and not ide_nodma


@guest
def ide_register_disk(hwif: ptr[IdeHwif], drive: ptr[IdeDrive]) -> None:
    """Announce the disk and connect it to the block layer."""
    mode: cstr = "DMA" if drive.using_dma else "PIO"
    printk(f"<6>{drive.name:s}: {drive.model:s}, ATA DISK drive\n")
    form: cstr = "LBA48" if drive.lba48 else "LBA"
    printk(f"<6>{drive.name:s}: {drive.capacity} sectors ({drive.capacity >> 11} MB), {form:s}, {mode:s}\n")
    blk_init_queue(drive.queue, do_ide_request, hwif.lock, drive)
    drive.queue.max_sectors = 65536 if drive.lba48 else 256
    drive.queue.max_segments = PRD_ENTRIES
    bdev: ptr[BlockDevice] = drive.bdev
    snprintf(bdev.bd_name, 8, f"{drive.name:s}")
    bdev.bd_sectors = drive.capacity
    bdev.bd_queue = drive.queue
    bdev.bd_private = drive
    add_disk(bdev)


@guest
def ide_probe_hwif(hwif: ptr[IdeHwif]) -> bool:
    """Look for both drives of a channel; True if there is one."""
    found: bool = False
    if ide_inb(hwif, IDE_STATUS) == 0xFF:
        return False
    printk(f"<7>Probing IDE interface {hwif.name:s}...\n")
    if reset_devices:
        if not ide_reset_channel(hwif):
            printk(f"<4>{hwif.name:s}: still busy after reset\n")
    elif not wait_hwif_ready(hwif):
        printk(f"<4>{hwif.name:s}: Wait for ready failed before probe !\n")
    outb(CTL_DEFAULT | CTL_NIEN, hwif.ctl_port)
    for unit in range(MAX_DRIVES):
        drive: ptr[IdeDrive] = hwif.drives[unit]
        drive.hwif = hwif
        drive.unit = unit
        snprintf(drive.name, 8, f"hd{u8(ord('a') + hwif.index * 2 + unit):c}")
        if not do_probe(hwif, drive):
            continue
        drive.present = True
        ide_fix_string(drive.model, ide_identity + ID_MODEL, 20)
        ide_read_capacity(drive)
        found = True
    ide_probe_select(hwif, 0)
    ide_inb(hwif, IDE_STATUS)
    outb(CTL_DEFAULT, hwif.ctl_port)
    return found


@guest
def ide_init_hwif(index: u32, io_base: u16, ctl_port: u16, irq: u32, dma_base: u16) -> None:
    """Set up one channel: memory for the PRD table, probe, interrupt, disks."""
    hwif: ptr[IdeHwif] = ide_hwifs[index]
    hwif.index = index
    snprintf(hwif.name, 8, f"ide{index}")
    hwif.io_base = io_base
    hwif.ctl_port = ctl_port
    hwif.irq = irq
    spin_lock_init(hwif.lock)
    init_timer(hwif.timer)
    hwif.timer.function = ide_timer_expiry
    hwif.timer.data = usize(hwif)
    if dma_base != 0:
        hwif.dma_table = cast(ptr[PrdEntry], __get_free_pages(0))
        if hwif.dma_table != NULL:
            hwif.dma_base = dma_base
    if not ide_probe_hwif(hwif):
        return
    if request_irq(irq, ide_intr, SA_SHIRQ, hwif.name, hwif) != 0:
        printk(f"<3>{hwif.name:s}: no IRQ {irq}\n")
        return
    printk(f"<6>{hwif.name:s} at 0x{io_base:x}-0x{io_base + 7:x},0x{ctl_port:x} on irq {irq}\n")
    for unit in range(MAX_DRIVES):
        if hwif.drives[unit].present:
            ide_register_disk(hwif, hwif.drives[unit])


@guest
def ide_init() -> i32:
    """Find the controller and probe its channels, in compatibility mode at the legacy ports, except libata's."""
    devfn: u32 = pci_find_class(PCI_CLASS_STORAGE_IDE)
    base: u16 = 0
    if devfn != PCI_NONE:
        pci_set_master(devfn)
        base = u16(pci_read_config_dword(devfn, PCI_BASE_ADDRESS_4) & 0xFFF0)
        printk(f"<6>PIIX: IDE controller at PCI slot 0000:00:{devfn >> 3:02x}.{devfn & 7}, BM-DMA at 0x{base:04x}\n")
    if not libata_has_primary():
        ide_init_hwif(0, 0x1F0, 0x3F6, 14, base)
    ide_init_hwif(1, 0x170, 0x376, 15, 0 if base == 0 else base + 8)
    return 0


_param_reset_devices: ObsKernelParam = placed(
    "setup_params", ObsKernelParam(str="reset_devices", setup_func=reset_devices_setup)
)
_param_ide: ObsKernelParam = placed("setup_params", ObsKernelParam(str="ide=", setup_func=ide_setup))
_init_ide: fn[[], i32] = placed("initcall6", ide_init)
