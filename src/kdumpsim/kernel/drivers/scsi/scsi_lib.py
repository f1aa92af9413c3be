# SPDX-License-Identifier: GPL-2.0-or-later
"""SCSI and the block layer: from requests to commands and back (Linux drivers/scsi/scsi_lib.c, 2.6.16)."""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, cast, guest, ptr, u8, u32
from kdumpsim.kernel.block.blk_types import Request, RequestQueue
from kdumpsim.kernel.block.queue import (
    blk_execute_rq,
    blk_init_queue,
    elv_next_request,
    elv_requeue_request,
    end_that_request_first,
    end_that_request_last,
)
from kdumpsim.kernel.core.spinlock import (
    spin_lock,
    spin_lock_init,
    spin_lock_irq,
    spin_lock_irqsave,
    spin_unlock,
    spin_unlock_irq,
    spin_unlock_irqrestore,
)
from kdumpsim.kernel.core.string import memcpy, memset
from kdumpsim.kernel.core.types import EIO
from kdumpsim.kernel.drivers.scsi.scsi import scsi_device_unbusy, scsi_dispatch_cmd, scsi_finish_command
from kdumpsim.kernel.drivers.scsi.scsi_types import (
    ABORTED_COMMAND,
    DID_OK,
    MAX_COMMAND_SIZE,
    MEDIUM_ERROR,
    SAM_STAT_CHECK_CONDITION,
    SCSI_MAX_TARGETS,
    SCSI_SENSE_SIZE,
    ScsiCmnd,
    ScsiDevice,
    ScsiHost,
)


@guest
def scsi_get_command(sdev: ptr[ScsiDevice], rq: ptr[Request]) -> ptr[ScsiCmnd]:
    """The device's command, made ready for a request."""
    cmd: ptr[ScsiCmnd] = sdev.command
    cmd.device = sdev
    cmd.request = rq
    cmd.request_buffer = NULL
    cmd.request_bufflen = 0
    cmd.retries = 0
    memset(cmd.cmnd, 0, MAX_COMMAND_SIZE)
    rq.special = cmd
    return cmd


@guest
def scsi_prep_fn(sdev: ptr[ScsiDevice], rq: ptr[Request]) -> ptr[ScsiCmnd]:
    """The command of a request; one that came from a file system is written by the upper-level driver."""
    if rq.special != NULL:
        return cast(ptr[ScsiCmnd], rq.special)
    cmd: ptr[ScsiCmnd] = scsi_get_command(sdev, rq)
    sdev.init_command(cmd)
    return cmd


@guest
def scsi_host_queue_ready(host: ptr[ScsiHost]) -> bool:
    """Can the host take a command?  host_lock held."""
    return not host.in_recovery and host.host_busy < host.can_queue


@guest
def scsi_request_fn(q: ptr[RequestQueue]) -> None:
    """The queues' request_fn: dispatch what the device and the host have room for.

    Called with the queue's lock held; it is dropped, and interrupts are let in, around each dispatch.
    """
    sdev = cast(ptr[ScsiDevice], q.queuedata)
    host: ptr[ScsiHost] = sdev.host
    while sdev.device_busy == 0:
        rq: ptr[Request] = elv_next_request(q)
        if rq == NULL:
            return
        sdev.device_busy += 1
        cmd: ptr[ScsiCmnd] = scsi_prep_fn(sdev, rq)
        spin_unlock(q.queue_lock)
        spin_lock(host.host_lock)
        ready: bool = scsi_host_queue_ready(host)
        if ready:
            host.host_busy += 1
        spin_unlock_irq(host.host_lock)
        if ready:
            cmd.result = 0
            memset(cmd.sense_buffer, 0, SCSI_SENSE_SIZE)
            scsi_dispatch_cmd(cmd)
        spin_lock_irq(q.queue_lock)
        if not ready:
            elv_requeue_request(q, rq)
            sdev.device_busy -= 1
            return


@guest
def scsi_run_host_queues(host: ptr[ScsiHost]) -> None:
    """Room has come up on a host: let all its devices look for work."""
    for i in range(SCSI_MAX_TARGETS):
        sdev: ptr[ScsiDevice] = host.devices[i]
        if sdev.host != NULL:
            flags = spin_lock_irqsave(sdev.queue_lock)
            scsi_request_fn(sdev.queue)
            spin_unlock_irqrestore(sdev.queue_lock, flags)


@guest
def scsi_queue_insert(cmd: ptr[ScsiCmnd]) -> None:
    """Have a command dispatched again, before all others of its device."""
    sdev: ptr[ScsiDevice] = cmd.device
    flags = spin_lock_irqsave(sdev.queue_lock)
    elv_requeue_request(sdev.queue, cmd.request)
    spin_unlock_irqrestore(sdev.queue_lock, flags)
    scsi_device_unbusy(sdev)
    scsi_run_host_queues(sdev.host)


@guest
def scsi_softirq_done(rq: ptr[Request]) -> None:
    """A command has ended; BLOCK softirq."""
    cmd = cast(ptr[ScsiCmnd], rq.special)
    if cmd.result != 0 and scsi_needs_retry(cmd):
        scsi_queue_insert(cmd)
    else:
        scsi_finish_command(cmd)


@guest
def scsi_io_completion(cmd: ptr[ScsiCmnd]) -> None:
    """A command is over: end its request, then start what waits."""
    rq: ptr[Request] = cmd.request
    sdev: ptr[ScsiDevice] = cmd.device
    end_that_request_first(rq, -EIO if cmd.result != 0 else 0)
    scsi_device_unbusy(sdev)
    flags = spin_lock_irqsave(sdev.queue_lock)
    end_that_request_last(rq)
    spin_unlock_irqrestore(sdev.queue_lock, flags)
    scsi_run_host_queues(sdev.host)


@guest
def scsi_execute_req(sdev: ptr[ScsiDevice], cdb: ptr[u8], buffer: ptr[u8], count: u32, timeout: u32) -> u32:
    """Send a command that belongs to no file system and wait; its result."""
    rq: Request = Request()
    flags = spin_lock_irqsave(sdev.queue_lock)
    cmd: ptr[ScsiCmnd] = scsi_get_command(sdev, rq)
    spin_unlock_irqrestore(sdev.queue_lock, flags)
    memcpy(cmd.cmnd, cdb, MAX_COMMAND_SIZE)
    cmd.request_buffer = buffer
    cmd.request_bufflen = count
    cmd.allowed = 3
    cmd.timeout_per_command = timeout
    cmd.done = scsi_io_completion
    blk_execute_rq(sdev.queue, rq)
    return cmd.result


@guest
def scsi_alloc_queue(sdev: ptr[ScsiDevice]) -> None:
    """The device's request queue."""
    spin_lock_init(sdev.queue_lock)
    blk_init_queue(sdev.queue, scsi_request_fn, sdev.queue_lock, sdev)
    sdev.queue.softirq_done_fn = scsi_softirq_done
    sdev.queue.max_sectors = sdev.host.max_sectors
    sdev.queue.max_segments = sdev.host.sg_tablesize


@guest
def scsi_needs_retry(cmd: ptr[ScsiCmnd]) -> bool:
    """Shall a command that was ended by the device be tried again? (scsi_decide_disposition, scsi_check_sense)"""
    if (cmd.result >> 16) & 0xFF != DID_OK or cmd.result & 0xFF != SAM_STAT_CHECK_CONDITION:
        return False
    key: u32 = u32(cmd.sense_buffer[2]) & 0xF
    if key != ABORTED_COMMAND and key != MEDIUM_ERROR:
        return False
    cmd.retries += 1
    return cmd.retries < cmd.allowed
