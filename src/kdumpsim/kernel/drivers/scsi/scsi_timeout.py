# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that take too long (drivers/scsi/scsi_error.c, 2.6.16): how they come to the error handler."""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, cast, fn, guest, ptr, u32, usize
from kdumpsim.kernel.core.list import list_add_tail
from kdumpsim.kernel.core.panic import panic
from kdumpsim.kernel.core.sched import wake_up_process
from kdumpsim.kernel.core.spinlock import spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.timer import del_timer, jiffies, mod_timer, setup_timer
from kdumpsim.kernel.drivers.scsi.scsi_types import ScsiCmnd, ScsiHost


@guest
def scsi_add_timer(cmd: ptr[ScsiCmnd], timeout: u32, complete: fn[[usize], None]) -> None:
    """Start the clock of a command."""
    setup_timer(cmd.eh_timeout, complete, usize(cmd))
    mod_timer(cmd.eh_timeout, jiffies + timeout)


@guest
def scsi_delete_timer(cmd: ptr[ScsiCmnd]) -> bool:
    """Stop the clock of a command; False if its time was over."""
    return del_timer(cmd.eh_timeout)


@guest
def scsi_eh_wakeup(host: ptr[ScsiHost]) -> None:
    """Wake the error handler when all commands the host still has are failed ones.  host_lock held."""
    if host.host_busy == host.host_failed:
        wake_up_process(host.ehandler)


@guest
def scsi_eh_scmd_add(cmd: ptr[ScsiCmnd]) -> None:
    """Hand a command to the error handler; the host takes no others until it is through."""
    host: ptr[ScsiHost] = cmd.device.host
    if host.ehandler == NULL:
        panic("Error handler thread not present for host %u", host.host_no)
    flags = spin_lock_irqsave(host.host_lock)
    host.in_recovery = True
    list_add_tail(cmd.eh_entry, host.eh_cmd_q)
    host.host_failed += 1
    scsi_eh_wakeup(host)
    spin_unlock_irqrestore(host.host_lock, flags)


@guest
def scsi_times_out(data: usize) -> None:
    """A command's time is over; timer softirq."""
    scsi_eh_scmd_add(cast(ptr[ScsiCmnd], data))
