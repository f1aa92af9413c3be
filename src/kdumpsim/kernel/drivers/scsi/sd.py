# SPDX-License-Identifier: GPL-2.0-or-later
"""SCSI disks (SBC-2; Linux drivers/scsi/sd.c, 2.6.16)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import array, guest, length, ptr, u8, u32
from kdumpsim.kernel.block.bio import add_disk
from kdumpsim.kernel.block.blk_types import READ, BlockDevice, Request
from kdumpsim.kernel.core.config import HZ
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.vsprintf import snprintf
from kdumpsim.kernel.drivers.scsi.scsi_lib import scsi_execute_req, scsi_io_completion
from kdumpsim.kernel.drivers.scsi.scsi_types import (
    MAX_COMMAND_SIZE,
    READ_10,
    READ_CAPACITY,
    WRITE_10,
    ScsiCmnd,
    ScsiDevice,
)

SD_TIMEOUT: Final = 30 * HZ
SD_MAX_RETRIES: Final = 5
SECTOR_BYTES: Final = 512

nr_sd_disks: u32 = 0


@guest
def put_be32(to: ptr[u8], value: u32) -> None:
    """SCSI's byte order."""
    for i in range(4):
        to[i] = u8((value >> (24 - 8 * i)) & 0xFF)


@guest
def get_be32(of: ptr[u8]) -> u32:
    """SCSI's byte order."""
    value: u32 = 0
    for i in range(4):
        value = (value << 8) | of[i]
    return value


@guest
def sd_init_command(cmd: ptr[ScsiCmnd]) -> None:
    """Write the command for a request: READ (10) or WRITE (10)."""
    rq: ptr[Request] = cmd.request
    cmd.cmnd[0] = READ_10 if rq.rw == READ else WRITE_10
    put_be32(cmd.cmnd + 2, rq.sector)
    cmd.cmnd[7] = u8((rq.nr_sectors >> 8) & 0xFF)
    cmd.cmnd[8] = u8(rq.nr_sectors & 0xFF)
    cmd.request_bufflen = rq.nr_sectors * SECTOR_BYTES
    cmd.allowed = SD_MAX_RETRIES
    cmd.timeout_per_command = SD_TIMEOUT
    cmd.done = sd_rw_intr


@guest
def sd_rw_intr(cmd: ptr[ScsiCmnd]) -> None:
    """A read or write is over; BLOCK softirq."""
    if cmd.result != 0:
        key: u32 = u32(cmd.sense_buffer[2]) & 0xF
        printk(f"<6>sd {cmd.device.host.host_no}:0:{cmd.device.id}:0: SCSI error: return code = 0x{cmd.result:x}\n")
        if key != 0:
            printk(f"<6>{cmd.device.bdev.bd_name:s}: Current: sense key: {key:x}\n")
    scsi_io_completion(cmd)


@guest
def sd_read_capacity(sdev: ptr[ScsiDevice]) -> bool:
    """Ask a disk for its size."""
    cdb: array[u8] = length(MAX_COMMAND_SIZE)
    answer: array[u8] = length(8)
    cdb[0] = READ_CAPACITY
    result: u32 = scsi_execute_req(sdev, cdb, answer, 8, SD_TIMEOUT)
    if result != 0:
        printk(f"<4>{sdev.bdev.bd_name:s} : READ CAPACITY failed, result 0x{result:x}\n")
        return False
    sdev.capacity = get_be32(answer) + 1
    return True


@guest
def sd_probe(sdev: ptr[ScsiDevice]) -> None:
    """A direct-access device was found: it is the next of sda, sdb …"""
    global nr_sd_disks
    bdev: ptr[BlockDevice] = sdev.bdev
    snprintf(bdev.bd_name, 8, f"sd{u8(ord('a') + nr_sd_disks):c}")
    if not sd_read_capacity(sdev):
        return
    nr_sd_disks += 1
    sdev.init_command = sd_init_command
    megabytes: u32 = sdev.capacity >> 11
    printk(f"<5>SCSI device {bdev.bd_name:s}: {sdev.capacity} {SECTOR_BYTES}-byte hdwr sectors ({megabytes} MB)\n")
    bdev.bd_sectors = sdev.capacity
    bdev.bd_queue = sdev.queue
    bdev.bd_private = sdev
    add_disk(bdev)
    printk(f"<5>sd {sdev.host.host_no}:0:{sdev.id}:0: Attached scsi disk {bdev.bd_name:s}\n")
