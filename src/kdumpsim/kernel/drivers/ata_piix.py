# SPDX-License-Identifier: GPL-2.0-or-later
"""ata_piix: SATA ports of an ICH5, in native or in combined mode (Linux 2.6.16 drivers/scsi/ata_piix.c, ata_bus_probe()
and ata_pci_init_one() of libata-core.c, and the quirk of drivers/pci/quirks.c that shares the channels out).

An ICH5 in native mode is found by its identification: the ports are behind its base addresses, and have one PCI
interrupt in common.  In combined mode a SATA port answers at the legacy ports of an IDE controller, here the PIIX's:
with ``combined_mode=libata``, the default, this driver takes the primary channel, and the IDE driver keeps the
secondary one; ``combined_mode=ide`` leaves both channels to the IDE driver.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, array, cast, cstr, fn, guest, i32, length, placed, ptr, u8, u16, u32
from kdumpsim.kernel.architecture import inb, insw, outb, udelay
from kdumpsim.kernel.core.config import HZ
from kdumpsim.kernel.core.irq import request_irq
from kdumpsim.kernel.core.irq_types import SA_SHIRQ
from kdumpsim.kernel.core.list import init_list_head
from kdumpsim.kernel.core.params import cmdline_find
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.spinlock import spin_lock_init
from kdumpsim.kernel.core.string import strcmp
from kdumpsim.kernel.core.timer import msleep
from kdumpsim.kernel.drivers.libata import (
    ATA_BUSY,
    ATA_CMD_ID_ATA,
    ATA_CMD_SET_FEATURES,
    ATA_DEVCTL_OBS,
    ATA_DF,
    ATA_DRQ,
    ATA_ERR,
    ATA_ID_WORDS,
    ATA_MAX_DEVICES,
    ATA_MAX_PORTS,
    ATA_MAX_PRD,
    ATA_MAX_SECTORS,
    ATA_MAX_SECTORS_LBA48,
    ATA_NIEN,
    ATA_REG_CMD,
    ATA_REG_DATA,
    ATA_REG_ERR,
    ATA_REG_LBAH,
    ATA_REG_LBAL,
    ATA_REG_LBAM,
    ATA_REG_NSECT,
    ATA_SRST,
    SETFEATURES_XFER,
    XFER_MW_DMA_0,
    XFER_UDMA_0,
    AtaDevice,
    AtaHostSet,
    AtaPort,
    ata_bmdma_irq_clear,
    ata_busy_sleep,
    ata_chk_status,
    ata_pause,
    ata_std_dev_select,
)
from kdumpsim.kernel.drivers.libata_core import ata_exec_nodata, ata_interrupt, ata_scsi_error
from kdumpsim.kernel.drivers.libata_scsi import ata_scsi_queuecmd
from kdumpsim.kernel.drivers.pci import (
    PCI_BASE_ADDRESS_0,
    PCI_BASE_ADDRESS_1,
    PCI_BASE_ADDRESS_2,
    PCI_BASE_ADDRESS_3,
    PCI_BASE_ADDRESS_4,
    PCI_CLASS_PROG,
    PCI_CLASS_STORAGE_IDE,
    PCI_NONE,
    pci_find_class,
    pci_find_device,
    pci_intx,
    pci_io_base,
    pci_irq,
    pci_read_config_byte,
    pci_read_config_word,
    pci_set_master,
)
from kdumpsim.kernel.drivers.prd import PrdEntry
from kdumpsim.kernel.drivers.scsi.scsi_scan import scsi_add_host, scsi_scan_host
from kdumpsim.kernel.drivers.scsi.scsi_types import ScsiHost
from kdumpsim.kernel.mm.page_alloc import __get_free_pages

ATA_TMOUT_BOOT: Final = 30 * HZ
SRST_WAIT_MS: Final = 150
ICH_UDMA_MASK: Final = 0x3F
MODE_WORD: Final = 16

# Words of the IDENTIFY DEVICE data (ATA/ATAPI-6, section 8.15).
ID_CAPABILITY: Final = 49
ID_LBA_SECTORS: Final = 60
ID_MWDMA: Final = 63
ID_MAJOR_VERSION: Final = 80
ID_COMMAND_SET_2: Final = 83
ID_UDMA: Final = 88
ID_LBA48_SECTORS: Final = 100

PCI_VENDOR_ID_INTEL: Final = 0x8086
PCI_DEVICE_ID_ICH5_SATA: Final = 0x24D1
PROG_IF_NATIVE: Final = 0x05
"""Both channels are in native mode (PCI IDE Controller Specification 1.0, 2.2)."""
PIIX_PCS: Final = 0x92
PIIX_PCS_PRESENT: Final = 4
"""From this bit on: a drive was found at the port."""
CONTROL_BLOCK_CTL: Final = 2
"""Where device control is in a control block."""

ata_host_set: AtaHostSet = AtaHostSet()
ata_ports: array[AtaPort] = length(ATA_MAX_PORTS)


@guest
def piix_find_native() -> u32:
    """The SATA function of an ICH5 in native mode, as devfn, or PCI_NONE."""
    devfn: u32 = pci_find_device(PCI_VENDOR_ID_INTEL, PCI_DEVICE_ID_ICH5_SATA)
    if devfn == PCI_NONE or pci_read_config_byte(devfn, PCI_CLASS_PROG) & PROG_IF_NATIVE != PROG_IF_NATIVE:
        return PCI_NONE
    return devfn


@guest
def libata_has_primary() -> bool:
    """Does the primary channel belong to libata? (quirk_intel_ide_combined; the IDE driver asks, too)"""
    mode: array[u8] = length(MODE_WORD)
    if pci_find_class(PCI_CLASS_STORAGE_IDE) == PCI_NONE or piix_find_native() != PCI_NONE:
        return False
    return not cmdline_find("combined_mode=", mode, MODE_WORD) or strcmp(mode, "ide") != 0


@guest
def ata_devchk(ap: ptr[AtaPort], device: u32) -> bool:
    """Do registers behind this drive number keep what is written?"""
    ata_std_dev_select(ap, device)
    for i in range(3):
        outb(0x55 if i != 1 else 0xAA, ap.cmd_addr + ATA_REG_NSECT)
        outb(0xAA if i != 1 else 0x55, ap.cmd_addr + ATA_REG_LBAL)
    return inb(ap.cmd_addr + ATA_REG_NSECT) == 0x55 and inb(ap.cmd_addr + ATA_REG_LBAL) == 0xAA


@guest
def ata_bus_softreset(ap: ptr[AtaPort]) -> None:
    """Reset both drives by SRST and wait for them (ATA/ATAPI-6, section 9.2)."""
    outb(ap.ctl, ap.ctl_addr)
    udelay(20)
    outb(ap.ctl | ATA_SRST, ap.ctl_addr)
    udelay(20)
    outb(ap.ctl, ap.ctl_addr)
    msleep(SRST_WAIT_MS)


@guest
def ata_dev_try_classify(ap: ptr[AtaPort], device: u32) -> bool:
    """Is there an ATA disk, by the signature the reset has left?"""
    ata_std_dev_select(ap, device)
    error: u8 = inb(ap.cmd_addr + ATA_REG_ERR)
    if error != 1 and not (device == 0 and error == 0x81):
        return False
    if inb(ap.cmd_addr + ATA_REG_LBAM) != 0 or inb(ap.cmd_addr + ATA_REG_LBAH) != 0:
        return False
    return ata_chk_status(ap) != 0


@guest
def ata_bus_reset(ap: ptr[AtaPort]) -> bool:
    """Reset the channel, whatever it is doing, and see who is there; True if somebody is."""
    found: array[bool] = length(ATA_MAX_DEVICES)
    for device in range(ATA_MAX_DEVICES):
        found[device] = ata_devchk(ap, device)
    ata_std_dev_select(ap, 0)
    ata_bus_softreset(ap)
    for device in range(ATA_MAX_DEVICES):
        if found[device]:
            ata_std_dev_select(ap, device)
            ata_busy_sleep(ap, ATA_TMOUT_BOOT)
    for device in range(ATA_MAX_DEVICES):
        ap.devices[device].devno = device
        ap.devices[device].present = ata_dev_try_classify(ap, device)
    ata_std_dev_select(ap, 0)
    return ap.devices[0].present or ap.devices[1].present


@guest
def ata_dev_identify(ap: ptr[AtaPort], dev: ptr[AtaDevice]) -> bool:
    """IDENTIFY DEVICE, polled, with interrupts off at the drive."""
    ata_std_dev_select(ap, dev.devno)
    outb(ap.ctl | ATA_NIEN, ap.ctl_addr)
    outb(ATA_CMD_ID_ATA, ap.cmd_addr + ATA_REG_CMD)
    ata_pause(ap)
    answered: bool = ata_busy_sleep(ap, ATA_TMOUT_BOOT)
    status: u8 = ata_chk_status(ap)
    answered = answered and status & (ATA_BUSY | ATA_DRQ | ATA_DF | ATA_ERR) == ATA_DRQ
    if answered:
        insw(ap.cmd_addr + ATA_REG_DATA, dev.id, ATA_ID_WORDS)
        ata_chk_status(ap)
    outb(ap.ctl, ap.ctl_addr)
    ap.last_ctl = ap.ctl
    if not answered:
        printk(f"<4>ata{ap.id}: dev {dev.devno} failed to IDENTIFY, stat 0x{status:02x}\n")
    return answered


@guest
def ata_id_double(dev: ptr[AtaDevice], word: u32) -> u32:
    """Two words of the IDENTIFY data."""
    return u32(dev.id[word]) | (u32(dev.id[word + 1]) << 16)


@guest
def highest_bit(mask: u32) -> u32:
    """The number of the highest bit that is set."""
    bit: u32 = 0
    while mask >> 1 != 0:
        mask >>= 1
        bit += 1
    return bit


@guest
def ata_dev_configure(ap: ptr[AtaPort], dev: ptr[AtaDevice]) -> bool:
    """Size and transfer mode from the IDENTIFY data; False for a drive that has no LBA or no DMA."""
    udma: u32 = u32(dev.id[ID_UDMA]) & ICH_UDMA_MASK
    mwdma: u32 = u32(dev.id[ID_MWDMA]) & 7
    if dev.id[ID_CAPABILITY] & 0x0300 != 0x0300 or (udma | mwdma) == 0:
        printk(f"<4>ata{ap.id}: dev {dev.devno} not supported, ignoring\n")
        return False
    dev.udma = udma != 0
    dev.mode = highest_bit(udma) if dev.udma else highest_bit(mwdma)
    dev.lba48 = dev.id[ID_COMMAND_SET_2] & 0xC400 == 0x4400
    dev.n_sectors = ata_id_double(dev, ID_LBA48_SECTORS) if dev.lba48 else ata_id_double(dev, ID_LBA_SECTORS)
    form: cstr = "LBA48" if dev.lba48 else "LBA"
    version: u32 = highest_bit(dev.id[ID_MAJOR_VERSION])
    printk(f"<6>ata{ap.id}: dev {dev.devno} ATA-{version}, {dev.n_sectors} sectors: {form:s}\n")
    return True


@guest
def ata_dev_set_mode(ap: ptr[AtaPort], dev: ptr[AtaDevice]) -> bool:
    """SET FEATURES: the transfer mode.  The first command that needs the interrupt."""
    code: u32 = (XFER_UDMA_0 if dev.udma else XFER_MW_DMA_0) | dev.mode
    error: u32 = ata_exec_nodata(ap, dev, ATA_CMD_SET_FEATURES, SETFEATURES_XFER, u8(code))
    if error != 0:
        printk(f"<3>ata{ap.id}: dev {dev.devno} failed to set xfermode, err_mask={error}, disabled\n")
        return False
    kind: cstr = "UDMA" if dev.udma else "MWDMA"
    printk(f"<6>ata{ap.id}: dev {dev.devno} configured for {kind:s} mode {dev.mode}\n")
    return True


@guest
def ata_bus_probe(ap: ptr[AtaPort]) -> bool:
    """Reset the channel and make its drives ready; True if there is one."""
    if not ata_bus_reset(ap):
        return False
    found: bool = False
    for device in range(ATA_MAX_DEVICES):
        dev: ptr[AtaDevice] = ap.devices[device]
        if dev.present:
            dev.present = ata_dev_identify(ap, dev) and ata_dev_configure(ap, dev) and ata_dev_set_mode(ap, dev)
            found = found or dev.present
    return found


@guest
def ata_host_init(ap: ptr[AtaPort]) -> None:
    """What the SCSI mid-layer is told of a port."""
    host: ptr[ScsiHost] = ap.host
    host.name = "ata_piix"
    host.hostdata = ap
    host.queuecommand = ata_scsi_queuecmd
    host.eh_strategy_handler = ata_scsi_error
    host.can_queue = 1
    host.sg_tablesize = ATA_MAX_PRD // 2
    host.max_sectors = ATA_MAX_SECTORS_LBA48
    for device in range(ATA_MAX_DEVICES):
        if ap.devices[device].present and not ap.devices[device].lba48:
            host.max_sectors = ATA_MAX_SECTORS


@guest
def ata_port_register(ap: ptr[AtaPort]) -> None:
    """See who is at a port and offer the disks to SCSI."""
    if not ata_bus_probe(ap):
        printk(f"<6>ata{ap.id}: disabling port\n")
        return
    ata_host_init(ap)
    scsi_add_host(ap.host)
    scsi_scan_host(ap.host)


@guest
def ata_device_add(host_set: ptr[AtaHostSet]) -> i32:
    """Bring a controller up: acknowledge what is pending, take the interrupt, then port by port."""
    for i in range(host_set.n_ports):
        ap: ptr[AtaPort] = host_set.ports[i]
        printk(f"<6>ata{ap.id}: SATA cmd 0x{ap.cmd_addr:X} ctl 0x{ap.ctl_addr:X} ")
        printk(f"bmdma 0x{ap.bmdma_addr:X} irq {host_set.irq}\n")
        ata_chk_status(ap)
        ata_bmdma_irq_clear(ap)
    error: i32 = request_irq(host_set.irq, ata_interrupt, SA_SHIRQ, "libata", host_set)
    if error != 0:
        return error
    for i in range(host_set.n_ports):
        ata_port_register(host_set.ports[i])
    return 0


@guest
def ata_host_add(host_set: ptr[AtaHostSet], cmd_addr: u16, ctl_addr: u16, bmdma_addr: u16) -> bool:
    """Make the next port of a controller; False if there is no memory for it."""
    ap: ptr[AtaPort] = ata_ports[host_set.n_ports]
    ap.prd = cast(ptr[PrdEntry], __get_free_pages(0))
    if ap.prd == NULL:
        return False
    host_set.ports[host_set.n_ports] = ap
    host_set.n_ports += 1
    ap.host_set = host_set
    ap.id = host_set.n_ports
    ap.cmd_addr = cmd_addr
    ap.ctl_addr = ctl_addr
    ap.bmdma_addr = bmdma_addr
    ap.ctl = ATA_DEVCTL_OBS
    ap.last_ctl = ap.ctl
    init_list_head(ap.eh_done_q)
    return True


@guest
def piix_init_native(host_set: ptr[AtaHostSet], devfn: u32) -> bool:
    """The ports of an ICH5 in native mode at which a drive was found; False if there are none.

    Some firmware has set Interrupt Disable.
    """
    pci_set_master(devfn)
    pci_intx(devfn, True)
    host_set.irq = pci_irq(devfn)
    present: u32 = pci_read_config_word(devfn, PIIX_PCS) >> PIIX_PCS_PRESENT
    bmdma: u16 = pci_io_base(devfn, PCI_BASE_ADDRESS_4)
    if present & 1:
        cmd: u16 = pci_io_base(devfn, PCI_BASE_ADDRESS_0)
        ata_host_add(host_set, cmd, pci_io_base(devfn, PCI_BASE_ADDRESS_1) + CONTROL_BLOCK_CTL, bmdma)
    if present & 2:
        cmd = pci_io_base(devfn, PCI_BASE_ADDRESS_2)
        ata_host_add(host_set, cmd, pci_io_base(devfn, PCI_BASE_ADDRESS_3) + CONTROL_BLOCK_CTL, bmdma + 8)
    return host_set.n_ports != 0


@guest
def piix_init_legacy(host_set: ptr[AtaHostSet], devfn: u32) -> bool:
    """The primary channel, at its legacy ports."""
    pci_set_master(devfn)
    host_set.irq = 14
    return ata_host_add(host_set, 0x1F0, 0x3F6, pci_io_base(devfn, PCI_BASE_ADDRESS_4))


@guest
def piix_init_one() -> i32:
    """Take an ICH5 in native mode, or the primary channel, if it is ours."""
    host_set: ptr[AtaHostSet] = ata_host_set
    spin_lock_init(host_set.lock)
    devfn: u32 = piix_find_native()
    if devfn != PCI_NONE:
        return ata_device_add(host_set) if piix_init_native(host_set, devfn) else 0
    if not libata_has_primary():
        return 0
    if not piix_init_legacy(host_set, pci_find_class(PCI_CLASS_STORAGE_IDE)):
        return 0
    return ata_device_add(host_set)


_init_piix: fn[[], i32] = placed("initcall6", piix_init_one)
