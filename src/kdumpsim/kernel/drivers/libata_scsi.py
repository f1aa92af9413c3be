# SPDX-License-Identifier: GPL-2.0-or-later
"""libata: SCSI commands in, ATA commands out (SAT; Linux drivers/scsi/libata-scsi.c, 2.6.16)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, array, cast, fn, guest, ptr, u8, u32
from kdumpsim.kernel.architecture import inb
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.spinlock import spin_lock, spin_unlock
from kdumpsim.kernel.core.string import memcpy, memset
from kdumpsim.kernel.drivers.libata import (
    ATA_CMD_READ,
    ATA_CMD_READ_EXT,
    ATA_CMD_WRITE,
    ATA_CMD_WRITE_EXT,
    ATA_IDNF,
    ATA_MAX_DEVICES,
    ATA_MAX_PRD,
    ATA_REG_ERR,
    ATA_UNC,
    AtaDevice,
    AtaPort,
    AtaProtocol,
    AtaQueuedCmd,
    AtaTaskfile,
)
from kdumpsim.kernel.drivers.libata_core import ata_qc_issue, ata_qc_new_init
from kdumpsim.kernel.drivers.prd import prd_fill
from kdumpsim.kernel.drivers.scsi.scsi_types import (
    ABORTED_COMMAND,
    DID_ERROR,
    DID_NO_CONNECT,
    ILLEGAL_REQUEST,
    INQUIRY,
    MEDIUM_ERROR,
    READ_10,
    READ_CAPACITY,
    SAM_STAT_CHECK_CONDITION,
    SAM_STAT_GOOD,
    WRITE_10,
    ScsiCmnd,
)
from kdumpsim.kernel.drivers.scsi.sd import get_be32, put_be32

ID_FW_REV: Final = 23
ID_PROD: Final = 27
INQUIRY_BYTES: Final = 36
SENSE_FIXED: Final = 0x70
"""Fixed format, current error (SPC-3, 4.5.3)."""

ata_vendor: array[u8] = b"ATA     "


@guest
def ata_sense(cmd: ptr[ScsiCmnd], key: u32) -> None:
    """End a command with sense data."""
    cmd.result = SAM_STAT_CHECK_CONDITION
    cmd.sense_buffer[0] = SENSE_FIXED
    cmd.sense_buffer[2] = u8(key)


@guest
def ata_scsi_qc_complete(qc: ptr[AtaQueuedCmd]) -> None:
    """An ATA command for the mid-layer is over."""
    cmd: ptr[ScsiCmnd] = qc.scsicmd
    if qc.err_mask == 0:
        cmd.result = SAM_STAT_GOOD
    else:
        error: u8 = inb(qc.ap.cmd_addr + ATA_REG_ERR)
        printk(f"<4>ata{qc.ap.id}: command 0x{qc.tf.command:x} failed, error=0x{error:02x}\n")
        if error & ATA_UNC:
            ata_sense(cmd, MEDIUM_ERROR)
        elif error & ATA_IDNF:
            ata_sense(cmd, ILLEGAL_REQUEST)
        else:
            ata_sense(cmd, ABORTED_COMMAND)
    qc.scsicmd = NULL
    qc.scsidone(cmd)


@guest
def ata_scsi_rw_xlat(qc: ptr[AtaQueuedCmd], cmd: ptr[ScsiCmnd]) -> None:
    """READ (10) and WRITE (10) as READ DMA and WRITE DMA, with 48-bit addresses if the drive has them."""
    tf: ptr[AtaTaskfile] = qc.tf
    block: u32 = get_be32(cmd.cmnd + 2)
    tf.protocol = AtaProtocol.ATA_PROT_DMA
    tf.write = cmd.cmnd[0] == WRITE_10
    tf.lba48 = qc.dev.lba48
    tf.nsect = cmd.cmnd[8]
    tf.lbal = u8(block & 0xFF)
    tf.lbam = u8((block >> 8) & 0xFF)
    tf.lbah = u8((block >> 16) & 0xFF)
    if tf.lba48:
        tf.hob_nsect = cmd.cmnd[7]
        tf.hob_lbal = u8(block >> 24)
        tf.command = ATA_CMD_WRITE_EXT if tf.write else ATA_CMD_READ_EXT
    else:
        tf.device |= u8((block >> 24) & 0xF)
        tf.command = ATA_CMD_WRITE if tf.write else ATA_CMD_READ


@guest
def ata_scsi_translate(ap: ptr[AtaPort], dev: ptr[AtaDevice], cmd: ptr[ScsiCmnd]) -> bool:
    """Have the drive do a command; False if it cannot be given to it."""
    qc: ptr[AtaQueuedCmd] = ata_qc_new_init(ap, dev)
    if qc == NULL or not prd_fill(ap.prd, ATA_MAX_PRD, cmd.request.bio):
        return False
    qc.scsicmd = cmd
    qc.scsidone = cmd.scsi_done
    qc.complete_fn = ata_scsi_qc_complete
    ata_scsi_rw_xlat(qc, cmd)
    ata_qc_issue(qc)
    return True


@guest
def ata_id_string(dev: ptr[AtaDevice], to: ptr[u8], word: u32, count: u32) -> None:
    """`count` characters of an IDENTIFY string, the first of each word in its high byte."""
    for i in range(count):
        pair: u32 = dev.id[word + i // 2]
        to[i] = u8((pair >> 8) & 0xFF) if i & 1 == 0 else u8(pair & 0xFF)


@guest
def ata_scsi_simulate(dev: ptr[AtaDevice], cmd: ptr[ScsiCmnd]) -> None:
    """Answer a command from what IDENTIFY said."""
    answer: ptr[u8] = cmd.request_buffer
    cmd.result = SAM_STAT_GOOD
    if cmd.cmnd[0] == INQUIRY and cmd.request_bufflen >= INQUIRY_BYTES:
        memset(answer, 0, INQUIRY_BYTES)
        answer[2] = 5
        answer[4] = INQUIRY_BYTES - 5
        memcpy(answer + 8, ata_vendor, 8)
        ata_id_string(dev, answer + 16, ID_PROD, 16)
        ata_id_string(dev, answer + 32, ID_FW_REV, 4)
    elif cmd.cmnd[0] == READ_CAPACITY and cmd.request_bufflen >= 8:
        put_be32(answer, dev.n_sectors - 1)
        put_be32(answer + 4, 512)
    else:
        ata_sense(cmd, ILLEGAL_REQUEST)


@guest
def ata_scsi_queuecmd(cmd: ptr[ScsiCmnd], done: fn[[ptr[ScsiCmnd]], None]) -> None:
    """The host's queuecommand: called with host_lock held, which gives way to the port's own lock."""
    ap = cast(ptr[AtaPort], cmd.device.host.hostdata)
    cmd.scsi_done = done
    spin_unlock(ap.host.host_lock)
    spin_lock(ap.host_set.lock)
    id: u32 = cmd.device.id
    if id >= ATA_MAX_DEVICES or not ap.devices[id].present:
        cmd.result = DID_NO_CONNECT << 16
        done(cmd)
    elif cmd.cmnd[0] != READ_10 and cmd.cmnd[0] != WRITE_10:
        ata_scsi_simulate(ap.devices[id], cmd)
        done(cmd)
    elif not ata_scsi_translate(ap, ap.devices[id], cmd):
        cmd.result = DID_ERROR << 16
        done(cmd)
    spin_unlock(ap.host_set.lock)
    spin_lock(ap.host.host_lock)
