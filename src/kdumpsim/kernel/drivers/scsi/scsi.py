# SPDX-License-Identifier: GPL-2.0-or-later
"""The SCSI mid-layer: dispatching commands and taking them back (Linux drivers/scsi/scsi.c, 2.6.16).

A command goes down from scsi_request_fn() by scsi_dispatch_cmd() to the host's queuecommand.  The host's interrupt
ends it by scsi_done(); all that follows runs in the BLOCK softirq (scsi_softirq_done) and there starts the next one.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import guest, placed, ptr
from kdumpsim.kernel.block.blk_softirq import blk_complete_request
from kdumpsim.kernel.core.spinlock import spin_lock, spin_lock_irqsave, spin_unlock, spin_unlock_irqrestore
from kdumpsim.kernel.drivers.scsi.scsi_timeout import scsi_add_timer, scsi_delete_timer, scsi_eh_wakeup, scsi_times_out
from kdumpsim.kernel.drivers.scsi.scsi_types import ScsiCmnd, ScsiDevice, ScsiHost
from kdumpsim.kernel.lkdtt.cpoint import CrashPoint, cpoint

SCSI_DISPATCH_CMD: CrashPoint = placed(
    "cpoints",
    CrashPoint(
        name="SCSI_DISPATCH_CMD",
        which=8,
        help="SCSI: scsi_dispatch_cmd, above the SATA disk",
        alias="SCSI_QUEUE_RQ",
        needs="combined_mode=libata",
    ),
)


@guest
def scsi_dispatch_cmd(cmd: ptr[ScsiCmnd]) -> None:
    """Give a command to its host, which has room for it.  No lock held, interrupts on.

    Here lies SCSI_DISPATCH_CMD.  The first request of an idle disk comes here in the task that submits it, those
    that wait in the queue come from the BLOCK softirq that ended the one before.
    """
    cpoint(SCSI_DISPATCH_CMD)
    host: ptr[ScsiHost] = cmd.device.host
    scsi_add_timer(cmd, cmd.timeout_per_command, scsi_times_out)
    cmd.device.iorequest_cnt += 1
    flags = spin_lock_irqsave(host.host_lock)
    host.cmd_serial_number += 1
    cmd.serial_number = host.cmd_serial_number
    host.queuecommand(cmd, scsi_done)
    spin_unlock_irqrestore(host.host_lock, flags)


@guest
def scsi_done(cmd: ptr[ScsiCmnd]) -> None:
    """The host has ended a command; interrupt context.  One that has timed out belongs to the error handler."""
    if scsi_delete_timer(cmd):
        __scsi_done(cmd)


@guest
def __scsi_done(cmd: ptr[ScsiCmnd]) -> None:
    """Leave the rest of a command's end to the softirq."""
    cmd.serial_number = 0
    cmd.device.iodone_cnt += 1
    if cmd.result != 0:
        cmd.device.ioerr_cnt += 1
    blk_complete_request(cmd.request)


@guest
def scsi_device_unbusy(sdev: ptr[ScsiDevice]) -> None:
    """A command no longer occupies its host and its device."""
    host: ptr[ScsiHost] = sdev.host
    flags = spin_lock_irqsave(host.host_lock)
    host.host_busy -= 1
    if host.in_recovery and host.host_failed != 0:
        scsi_eh_wakeup(host)
    spin_unlock(host.host_lock)
    spin_lock(sdev.queue_lock)
    sdev.device_busy -= 1
    spin_unlock_irqrestore(sdev.queue_lock, flags)


@guest
def scsi_finish_command(cmd: ptr[ScsiCmnd]) -> None:
    """A command is over, well or not: its upper-level driver decides what becomes of the request.

    A device has one command, so its busy count falls only when nobody looks at the command any more
    (scsi_io_completion); 2.6.16, with a command for each request, lets it fall here.
    """
    cmd.done(cmd)
