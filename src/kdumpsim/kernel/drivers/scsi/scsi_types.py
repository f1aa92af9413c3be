# SPDX-License-Identifier: GPL-2.0-or-later
"""SCSI hosts, devices and commands (SPC-3, SBC-2; names of Linux 2.6.16 include/scsi/*.h)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, array, cstr, fn, length, ptr, u8, u32, void
from kdumpsim.kernel.block.blk_types import BlockDevice, Request, RequestQueue
from kdumpsim.kernel.core.sched_types import TaskStruct
from kdumpsim.kernel.core.spinlock_types import Spinlock
from kdumpsim.kernel.core.timer_types import TimerList
from kdumpsim.kernel.core.types import ListHead

# Operation codes.
INQUIRY: Final = 0x12
READ_CAPACITY: Final = 0x25
READ_10: Final = 0x28
WRITE_10: Final = 0x2A

TYPE_DISK: Final = 0

# Status byte, host byte and driver byte of ScsiCmnd.result.
SAM_STAT_GOOD: Final = 0x00
SAM_STAT_CHECK_CONDITION: Final = 0x02
DID_OK: Final = 0x00
DID_NO_CONNECT: Final = 0x01
DID_ERROR: Final = 0x07
DRIVER_TIMEOUT: Final = 0x06

# Sense keys.
MEDIUM_ERROR: Final = 0x03
ILLEGAL_REQUEST: Final = 0x05
ABORTED_COMMAND: Final = 0x0B

MAX_COMMAND_SIZE: Final = 16
SCSI_SENSE_SIZE: Final = 18
SCSI_MAX_TARGETS: Final = 2
"""Devices on a host: an ATA cable has two."""


class ScsiCmnd(Struct):
    """A command on its way through the mid-layer.  Its memory is the request's bios, or `request_buffer`."""

    device: ptr["ScsiDevice"]
    serial_number: u32
    cmnd: array[u8] = length(MAX_COMMAND_SIZE)
    request: ptr[Request]
    request_buffer: ptr[u8]
    request_bufflen: u32
    retries: u32
    allowed: u32
    timeout_per_command: u32
    eh_timeout: TimerList
    eh_entry: ListHead
    result: u32
    sense_buffer: array[u8] = length(SCSI_SENSE_SIZE)
    scsi_done: fn[[ptr["ScsiCmnd"]], None]
    done: fn[[ptr["ScsiCmnd"]], None]


class ScsiDevice(Struct):
    """A logical unit: its queue of requests and, being one command deep, its command."""

    host: ptr["ScsiHost"]
    id: u32
    present: bool
    type: u8
    vendor: array[u8] = length(12)
    model: array[u8] = length(20)
    rev: array[u8] = length(8)
    device_busy: u32
    iorequest_cnt: u32
    iodone_cnt: u32
    ioerr_cnt: u32
    queue_lock: Spinlock
    queue: RequestQueue
    command: ScsiCmnd
    init_command: fn[[ptr[ScsiCmnd]], None]
    capacity: u32
    bdev: BlockDevice


class ScsiHost(Struct):
    """A host adapter, seen from above: `queuecommand` takes one command, `host_lock` held, interrupts off."""

    host_no: u32
    name: cstr
    host_lock: Spinlock
    host_busy: u32
    host_failed: u32
    can_queue: u32
    in_recovery: bool
    cmd_serial_number: u32
    queuecommand: fn[[ptr[ScsiCmnd], fn[[ptr[ScsiCmnd]], None]], None]
    eh_strategy_handler: fn[[ptr["ScsiHost"]], None]
    ehandler: ptr[TaskStruct]
    eh_name: array[u8] = length(16)
    eh_cmd_q: ListHead
    max_sectors: u32
    sg_tablesize: u32
    devices: array[ScsiDevice] = length(SCSI_MAX_TARGETS)
    hostdata: ptr[void]
