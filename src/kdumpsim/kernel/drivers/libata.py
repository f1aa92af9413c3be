# SPDX-License-Identifier: GPL-2.0-or-later
"""libata: taskfiles, ports and the registers they go through (ATA/ATAPI-6; Linux 2.6.16 include/linux/libata.h)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from kdumpsim.compiler.lang import Struct, array, fn, guest, length, ptr, u8, u16, u32, usize
from kdumpsim.kernel.architecture import inb, outb, outl, pa, udelay
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.spinlock import Spinlock
from kdumpsim.kernel.core.timer import jiffies, msleep, time_after_eq
from kdumpsim.kernel.core.types import ListHead
from kdumpsim.kernel.core.wait import Completion
from kdumpsim.kernel.drivers.prd import PrdEntry
from kdumpsim.kernel.drivers.scsi.scsi_types import ScsiCmnd, ScsiHost

# Command block, offsets from AtaPort.cmd_addr (ATA/ATAPI-6, section 7).
ATA_REG_DATA: Final = 0
ATA_REG_ERR: Final = 1
ATA_REG_FEATURE: Final = 1
ATA_REG_NSECT: Final = 2
ATA_REG_LBAL: Final = 3
ATA_REG_LBAM: Final = 4
ATA_REG_LBAH: Final = 5
ATA_REG_DEVICE: Final = 6
ATA_REG_STATUS: Final = 7
ATA_REG_CMD: Final = 7

ATA_ERR: Final = 0x01
ATA_DRQ: Final = 0x08
ATA_DF: Final = 0x20
ATA_DRDY: Final = 0x40
ATA_BUSY: Final = 0x80

ATA_NIEN: Final = 0x02
ATA_SRST: Final = 0x04
ATA_DEVCTL_OBS: Final = 0x08
ATA_DEVICE_OBS: Final = 0xA0
ATA_LBA: Final = 0x40

ATA_IDNF: Final = 0x10
ATA_UNC: Final = 0x40

ATA_CMD_READ: Final = 0xC8
ATA_CMD_READ_EXT: Final = 0x25
ATA_CMD_WRITE: Final = 0xCA
ATA_CMD_WRITE_EXT: Final = 0x35
ATA_CMD_ID_ATA: Final = 0xEC
ATA_CMD_SET_FEATURES: Final = 0xEF
SETFEATURES_XFER: Final = 0x03
XFER_UDMA_0: Final = 0x40
XFER_MW_DMA_0: Final = 0x20

# Bus master registers, offsets from AtaPort.bmdma_addr (82371SB, section 2.3.1).
ATA_DMA_CMD: Final = 0
ATA_DMA_STATUS: Final = 2
ATA_DMA_TABLE_OFS: Final = 4
ATA_DMA_START: Final = 0x01
ATA_DMA_WR: Final = 0x08
ATA_DMA_INTR: Final = 0x04

ATA_ID_WORDS: Final = 256
ATA_MAX_DEVICES: Final = 2
ATA_MAX_PORTS: Final = 2
ATA_MAX_SECTORS: Final = 200
ATA_MAX_SECTORS_LBA48: Final = 2048
ATA_MAX_PRD: Final = 256
"""Half of what fits one page: as many as ata_sg_setup() may need for bios that straddle 64 KiB boundaries."""


class AtaProtocol(IntEnum):
    """How a command's data move."""

    ATA_PROT_NODATA = 1
    ATA_PROT_PIO = 2
    ATA_PROT_DMA = 4


class AtaErrMask(IntEnum):
    """Bits of AtaQueuedCmd.err_mask: who failed."""

    AC_ERR_DEV = 1
    AC_ERR_ATA_BUS = 2
    AC_ERR_OTHER = 16


class AtaTaskfile(Struct):
    """What goes into the registers for a command."""

    protocol: u32
    write: bool
    lba48: bool
    ctl: u8
    feature: u8
    nsect: u8
    lbal: u8
    lbam: u8
    lbah: u8
    hob_nsect: u8
    hob_lbal: u8
    hob_lbam: u8
    hob_lbah: u8
    device: u8
    command: u8


class AtaDevice(Struct):
    """A drive."""

    devno: u32
    present: bool
    lba48: bool
    udma: bool
    mode: u32
    n_sectors: u32
    id: array[u16] = length(ATA_ID_WORDS)


class AtaQueuedCmd(Struct):
    """A command under way; `active` while the port's interrupt belongs to it."""

    ap: ptr["AtaPort"]
    dev: ptr[AtaDevice]
    scsicmd: ptr[ScsiCmnd]
    scsidone: fn[[ptr[ScsiCmnd]], None]
    tf: AtaTaskfile
    active: bool
    err_mask: u32
    complete_fn: fn[[ptr["AtaQueuedCmd"]], None]
    waiting: Completion


class AtaHostSet(Struct):
    """The ports of a controller that have an interrupt in common."""

    lock: Spinlock
    irq: u32
    n_ports: u32
    ports: array[ptr["AtaPort"]] = length(ATA_MAX_PORTS)


class AtaPort(Struct):
    """A channel with up to two drives, one command at a time."""

    host: ScsiHost
    host_set: ptr[AtaHostSet]
    id: u32
    cmd_addr: u16
    ctl_addr: u16
    bmdma_addr: u16
    ctl: u8
    last_ctl: u8
    devices: array[AtaDevice] = length(ATA_MAX_DEVICES)
    qc: AtaQueuedCmd
    prd: ptr[PrdEntry]
    eh_done_q: ListHead


@guest
def ata_altstatus(ap: ptr[AtaPort]) -> u8:
    """The status, without acknowledging the interrupt."""
    return inb(ap.ctl_addr)


@guest
def ata_chk_status(ap: ptr[AtaPort]) -> u8:
    """The status; acknowledges the interrupt."""
    return inb(ap.cmd_addr + ATA_REG_STATUS)


@guest
def ata_pause(ap: ptr[AtaPort]) -> None:
    """400 ns, and whatever was written has arrived."""
    ata_altstatus(ap)
    udelay(1)


@guest
def ata_busy_wait(ap: ptr[AtaPort], bits: u8, rounds: u32) -> u8:
    """Poll a short while until `bits` are clear; the last status."""
    status: u8 = ata_altstatus(ap)
    while status & bits and rounds != 0:
        udelay(10)
        rounds -= 1
        status = ata_altstatus(ap)
    return status


@guest
def ata_wait_idle(ap: ptr[AtaPort]) -> u8:
    """Wait for a drive that should be ready in a moment."""
    status: u8 = ata_busy_wait(ap, ATA_BUSY | ATA_DRQ, 1000)
    if status & (ATA_BUSY | ATA_DRQ):
        printk(f"<4>ATA: abnormal status 0x{status:X} on port 0x{ap.cmd_addr + ATA_REG_STATUS:X}\n")
    return status


@guest
def ata_busy_sleep(ap: ptr[AtaPort], ticks: u32) -> bool:
    """Sleep until BSY is clear; False if it stays longer than `ticks`."""
    end: u32 = jiffies + ticks
    while ata_chk_status(ap) & ATA_BUSY:
        if time_after_eq(jiffies, end):
            printk(f"<3>ata{ap.id} failed to respond\n")
            return False
        msleep(50)
    return True


@guest
def ata_std_dev_select(ap: ptr[AtaPort], device: u32) -> None:
    """Select a drive."""
    outb(u8(ATA_DEVICE_OBS | (device << 4)), ap.cmd_addr + ATA_REG_DEVICE)
    ata_pause(ap)


@guest
def ata_dev_select(ap: ptr[AtaPort], device: u32) -> None:
    """Select a drive for a command: it is idle before and after."""
    ata_wait_idle(ap)
    ata_std_dev_select(ap, device)
    ata_wait_idle(ap)


@guest
def ata_tf_load(ap: ptr[AtaPort], tf: ptr[AtaTaskfile]) -> None:
    """Write a taskfile, all but its command."""
    if tf.ctl != ap.last_ctl:
        outb(tf.ctl, ap.ctl_addr)
        ap.last_ctl = tf.ctl
        ata_wait_idle(ap)
    if tf.lba48:
        outb(0, ap.cmd_addr + ATA_REG_FEATURE)
        outb(tf.hob_nsect, ap.cmd_addr + ATA_REG_NSECT)
        outb(tf.hob_lbal, ap.cmd_addr + ATA_REG_LBAL)
        outb(tf.hob_lbam, ap.cmd_addr + ATA_REG_LBAM)
        outb(tf.hob_lbah, ap.cmd_addr + ATA_REG_LBAH)
    outb(tf.feature, ap.cmd_addr + ATA_REG_FEATURE)
    outb(tf.nsect, ap.cmd_addr + ATA_REG_NSECT)
    outb(tf.lbal, ap.cmd_addr + ATA_REG_LBAL)
    outb(tf.lbam, ap.cmd_addr + ATA_REG_LBAM)
    outb(tf.lbah, ap.cmd_addr + ATA_REG_LBAH)
    outb(tf.device, ap.cmd_addr + ATA_REG_DEVICE)
    ata_wait_idle(ap)


@guest
def ata_exec_command(ap: ptr[AtaPort], tf: ptr[AtaTaskfile]) -> None:
    """Write the command."""
    outb(tf.command, ap.cmd_addr + ATA_REG_CMD)
    ata_pause(ap)


@guest
def ata_bmdma_status(ap: ptr[AtaPort]) -> u8:
    """The bus master's status."""
    return inb(ap.bmdma_addr + ATA_DMA_STATUS)


@guest
def ata_bmdma_irq_clear(ap: ptr[AtaPort]) -> None:
    """Acknowledge what the bus master has latched."""
    outb(ata_bmdma_status(ap), ap.bmdma_addr + ATA_DMA_STATUS)


@guest
def ata_bmdma_setup(qc: ptr[AtaQueuedCmd]) -> None:
    """Point the bus master to the PRD table, then give the drive its command."""
    ap: ptr[AtaPort] = qc.ap
    outl(u32(pa(usize(ap.prd))), ap.bmdma_addr + ATA_DMA_TABLE_OFS)
    control: u8 = inb(ap.bmdma_addr + ATA_DMA_CMD) & ~(ATA_DMA_WR | ATA_DMA_START)
    outb(control if qc.tf.write else control | ATA_DMA_WR, ap.bmdma_addr + ATA_DMA_CMD)
    ata_exec_command(ap, qc.tf)


@guest
def ata_bmdma_start(ap: ptr[AtaPort]) -> None:
    """Let the bus master go."""
    outb(inb(ap.bmdma_addr + ATA_DMA_CMD) | ATA_DMA_START, ap.bmdma_addr + ATA_DMA_CMD)


@guest
def ata_bmdma_stop(ap: ptr[AtaPort]) -> None:
    """Stop the bus master."""
    outb(inb(ap.bmdma_addr + ATA_DMA_CMD) & ~ATA_DMA_START, ap.bmdma_addr + ATA_DMA_CMD)
    ata_altstatus(ap)
