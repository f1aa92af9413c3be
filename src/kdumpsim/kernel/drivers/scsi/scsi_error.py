# SPDX-License-Identifier: GPL-2.0-or-later
"""SCSI timeouts and the error handler thread (Linux drivers/scsi/scsi_error.c, 2.6.16).

A command that takes too long is put on its host's list; when nothing but failed commands is left on the host, its
thread wakes and has the driver's strategy handler clean up.  Commands then are tried again or given up.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import cast, container_of, guest, i32, ptr, void
from kdumpsim.kernel.core.kthread import kernel_thread
from kdumpsim.kernel.core.list import init_list_head, list_add_tail, list_del, list_empty
from kdumpsim.kernel.core.sched import schedule, set_current_state
from kdumpsim.kernel.core.sched_types import TASK_INTERRUPTIBLE, TASK_RUNNING
from kdumpsim.kernel.core.spinlock import spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.types import ListHead
from kdumpsim.kernel.core.vsprintf import snprintf
from kdumpsim.kernel.drivers.scsi.scsi import scsi_finish_command
from kdumpsim.kernel.drivers.scsi.scsi_lib import scsi_queue_insert, scsi_run_host_queues
from kdumpsim.kernel.drivers.scsi.scsi_types import DRIVER_TIMEOUT, ScsiCmnd, ScsiHost


@guest
def scsi_eh_flush_done_q(done_q: ptr[ListHead]) -> None:
    """Commands the error handler is through with: once more, or the end."""
    while not list_empty(done_q):
        cmd = container_of(done_q.next, ScsiCmnd, "eh_entry")
        list_del(cmd.eh_entry)
        cmd.retries += 1
        if cmd.retries < cmd.allowed:
            scsi_queue_insert(cmd)
            continue
        if cmd.result == 0:
            cmd.result = DRIVER_TIMEOUT << 24
        scsi_finish_command(cmd)


@guest
def scsi_eh_finish_cmd(cmd: ptr[ScsiCmnd], done_q: ptr[ListHead]) -> None:
    """The strategy handler is through with a command."""
    host: ptr[ScsiHost] = cmd.device.host
    flags = spin_lock_irqsave(host.host_lock)
    host.host_failed -= 1
    list_del(cmd.eh_entry)
    list_add_tail(cmd.eh_entry, done_q)
    spin_unlock_irqrestore(host.host_lock, flags)


@guest
def scsi_eh_ready(host: ptr[ScsiHost]) -> bool:
    """Have commands failed, and is none other left on the host?"""
    flags = spin_lock_irqsave(host.host_lock)
    ready: bool = host.host_failed != 0 and host.host_failed == host.host_busy
    spin_unlock_irqrestore(host.host_lock, flags)
    return ready


@guest
def scsi_restart_operations(host: ptr[ScsiHost]) -> None:
    """Commands may go to the host again."""
    flags = spin_lock_irqsave(host.host_lock)
    host.in_recovery = False
    spin_unlock_irqrestore(host.host_lock, flags)
    scsi_run_host_queues(host)


@guest
def scsi_error_handler(data: ptr[void]) -> i32:
    """The thread scsi_eh_N."""
    host = cast(ptr[ScsiHost], data)
    while True:
        set_current_state(TASK_INTERRUPTIBLE)
        if not scsi_eh_ready(host):
            schedule()
            continue
        set_current_state(TASK_RUNNING)
        host.eh_strategy_handler(host)
        scsi_restart_operations(host)


@guest
def scsi_start_error_handler(host: ptr[ScsiHost]) -> None:
    """Prepare a host for failures."""
    init_list_head(host.eh_cmd_q)
    snprintf(host.eh_name, 16, f"scsi_eh_{host.host_no}")
    host.ehandler = kernel_thread(scsi_error_handler, host, host.eh_name)
