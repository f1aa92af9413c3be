# SPDX-License-Identifier: GPL-2.0-or-later
"""libata: issuing commands, their interrupts and their timeouts (Linux drivers/scsi/libata-core.c, 2.6.16).

Data go by DMA; only IDENTIFY is programmed input, polled by the task that asks (2.6.16 has a work queue for that).
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, cast, guest, ptr, u8, u32, void
from kdumpsim.kernel.architecture import PtRegs
from kdumpsim.kernel.core.config import HZ
from kdumpsim.kernel.core.irq_types import IRQ_HANDLED, IRQ_NONE
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.spinlock import spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.wait import complete, init_completion, wait_for_completion_timeout
from kdumpsim.kernel.drivers.libata import (
    ATA_BUSY,
    ATA_DEVICE_OBS,
    ATA_DF,
    ATA_DMA_INTR,
    ATA_ERR,
    ATA_LBA,
    AtaDevice,
    AtaErrMask,
    AtaHostSet,
    AtaPort,
    AtaProtocol,
    AtaQueuedCmd,
    AtaTaskfile,
    ata_altstatus,
    ata_bmdma_irq_clear,
    ata_bmdma_setup,
    ata_bmdma_start,
    ata_bmdma_status,
    ata_bmdma_stop,
    ata_chk_status,
    ata_dev_select,
    ata_exec_command,
    ata_tf_load,
)
from kdumpsim.kernel.drivers.scsi.scsi_error import scsi_eh_finish_cmd, scsi_eh_flush_done_q
from kdumpsim.kernel.drivers.scsi.scsi_types import ScsiCmnd, ScsiHost

ATA_TMOUT_INTERNAL: Final = 30 * HZ


@guest
def ata_qc_new_init(ap: ptr[AtaPort], dev: ptr[AtaDevice]) -> ptr[AtaQueuedCmd]:
    """The port's command with an empty taskfile, or NULL while it is in use."""
    qc: ptr[AtaQueuedCmd] = ap.qc
    if qc.active:
        return NULL
    tf: AtaTaskfile = AtaTaskfile()
    qc.ap = ap
    qc.dev = dev
    qc.scsicmd = NULL
    qc.err_mask = 0
    qc.tf = tf
    qc.tf.ctl = ap.ctl
    qc.tf.device = u8(ATA_DEVICE_OBS | ATA_LBA | (dev.devno << 4))
    return qc


@guest
def ac_err_mask(status: u8) -> u32:
    """What a status register says about a command that has ended."""
    if status & ATA_BUSY:
        return AtaErrMask.AC_ERR_ATA_BUS
    if status & (ATA_ERR | ATA_DF):
        return AtaErrMask.AC_ERR_DEV
    return 0


@guest
def ata_qc_issue(qc: ptr[AtaQueuedCmd]) -> None:
    """Give the drive a command; its interrupt ends it (ata_qc_issue, ata_qc_issue_prot).  Lock held."""
    ap: ptr[AtaPort] = qc.ap
    qc.active = True
    ata_dev_select(ap, qc.dev.devno)
    ata_tf_load(ap, qc.tf)
    if qc.tf.protocol == AtaProtocol.ATA_PROT_DMA:
        ata_bmdma_setup(qc)
        ata_bmdma_start(ap)
    else:
        ata_exec_command(ap, qc.tf)


@guest
def ata_qc_complete(qc: ptr[AtaQueuedCmd]) -> None:
    """A command is over.  Lock held."""
    qc.active = False
    qc.complete_fn(qc)


@guest
def ata_host_intr(ap: ptr[AtaPort], qc: ptr[AtaQueuedCmd]) -> bool:
    """An interrupt while a command is under way: is it its end?"""
    if qc.tf.protocol == AtaProtocol.ATA_PROT_DMA:
        if ata_bmdma_status(ap) & ATA_DMA_INTR == 0:
            return False
        ata_bmdma_stop(ap)
    if ata_altstatus(ap) & ATA_BUSY:
        return False
    status: u8 = ata_chk_status(ap)
    if status & ATA_BUSY:
        return False
    ata_bmdma_irq_clear(ap)
    qc.err_mask |= ac_err_mask(status)
    ata_qc_complete(qc)
    return True


@guest
def ata_interrupt(irq: u32, dev_id: ptr[void], regs: ptr[PtRegs]) -> u32:
    """The ports' interrupt.  One that belongs to no command is left alone: the drive's INTRQ stays up."""
    host_set = cast(ptr[AtaHostSet], dev_id)
    handled: u32 = IRQ_NONE
    flags = spin_lock_irqsave(host_set.lock)
    for i in range(host_set.n_ports):
        ap: ptr[AtaPort] = host_set.ports[i]
        if ap.qc.active and ata_host_intr(ap, ap.qc):
            handled = IRQ_HANDLED
    spin_unlock_irqrestore(host_set.lock, flags)
    return handled


@guest
def ata_qc_complete_internal(qc: ptr[AtaQueuedCmd]) -> None:
    """End of a command of the driver's own."""
    complete(qc.waiting)


@guest
def ata_exec_nodata(ap: ptr[AtaPort], dev: ptr[AtaDevice], command: u8, feature: u8, nsect: u8) -> u32:
    """Send a command that moves no data and wait for its interrupt; its err_mask (ata_exec_internal)."""
    flags = spin_lock_irqsave(ap.host_set.lock)
    qc: ptr[AtaQueuedCmd] = ata_qc_new_init(ap, dev)
    init_completion(qc.waiting)
    qc.complete_fn = ata_qc_complete_internal
    qc.tf.protocol = AtaProtocol.ATA_PROT_NODATA
    qc.tf.command = command
    qc.tf.feature = feature
    qc.tf.nsect = nsect
    ata_qc_issue(qc)
    spin_unlock_irqrestore(ap.host_set.lock, flags)
    if wait_for_completion_timeout(qc.waiting, ATA_TMOUT_INTERNAL) == 0:
        flags = spin_lock_irqsave(ap.host_set.lock)
        if qc.active:
            qc.err_mask = AtaErrMask.AC_ERR_OTHER
            qc.active = False
            printk(f"<4>ata{ap.id}: qc timeout (cmd 0x{command:x})\n")
        spin_unlock_irqrestore(ap.host_set.lock, flags)
    return qc.err_mask


@guest
def ata_eh_scsidone(cmd: ptr[ScsiCmnd]) -> None:
    """In place of scsi_done() while the error handler has the command."""


@guest
def ata_qc_timeout(qc: ptr[AtaQueuedCmd]) -> None:
    """A command did not end in time: stop the bus master, take what the drive says for its end."""
    ap: ptr[AtaPort] = qc.ap
    flags = spin_lock_irqsave(ap.host_set.lock)
    host_stat: u8 = 0
    if qc.tf.protocol == AtaProtocol.ATA_PROT_DMA:
        host_stat = ata_bmdma_status(ap)
        ata_bmdma_stop(ap)
    ata_altstatus(ap)
    status: u8 = ata_chk_status(ap)
    ata_bmdma_irq_clear(ap)
    printk(f"<3>ata{ap.id}: command 0x{qc.tf.command:x} timeout, stat 0x{status:x} host_stat 0x{host_stat:x}\n")
    qc.err_mask |= ac_err_mask(status)
    qc.scsidone = ata_eh_scsidone
    ata_qc_complete(qc)
    spin_unlock_irqrestore(ap.host_set.lock, flags)


@guest
def ata_scsi_error(host: ptr[ScsiHost]) -> None:
    """The host's error handler (ata_scsi_error and ata_eng_timeout)."""
    ap = cast(ptr[AtaPort], host.hostdata)
    if ap.qc.active and ap.qc.scsicmd != NULL:
        cmd: ptr[ScsiCmnd] = ap.qc.scsicmd
        ata_qc_timeout(ap.qc)
        scsi_eh_finish_cmd(cmd, ap.eh_done_q)
    else:
        printk(f"<3>ata{ap.id}: BUG: timeout without command\n")
    scsi_eh_flush_done_q(ap.eh_done_q)
