# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking a host's targets who they are (Linux drivers/scsi/scsi_scan.c, hosts.c, 2.6.16)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import array, cstr, guest, length, ptr, u8, u32
from kdumpsim.kernel.core.config import HZ
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.spinlock import spin_lock_init
from kdumpsim.kernel.core.string import memcpy
from kdumpsim.kernel.drivers.scsi.scsi_error import scsi_start_error_handler
from kdumpsim.kernel.drivers.scsi.scsi_lib import scsi_alloc_queue, scsi_execute_req
from kdumpsim.kernel.drivers.scsi.scsi_types import (
    INQUIRY,
    MAX_COMMAND_SIZE,
    SCSI_MAX_TARGETS,
    TYPE_DISK,
    ScsiDevice,
    ScsiHost,
)
from kdumpsim.kernel.drivers.scsi.sd import sd_probe

INQUIRY_TIMEOUT: Final = 5 * HZ
INQUIRY_LENGTH: Final = 36
NO_DEVICE: Final = 0x7F
"""Peripheral qualifier and type of a target that is not there (SPC-3, 6.4.2)."""

nr_scsi_hosts: u32 = 0


@guest
def scsi_inq_str(to: ptr[u8], inquiry: ptr[u8], first: u32, end: u32) -> None:
    """A field of the INQUIRY data as a string, without the blanks behind it."""
    while end > first and inquiry[end - 1] <= ord(" "):
        end -= 1
    memcpy(to, inquiry + first, end - first)
    to[end - first] = 0


@guest
def scsi_probe_and_add_lun(host: ptr[ScsiHost], target: u32) -> None:
    """Send INQUIRY to a target; if one answers, it is a device, and a disk if it says so."""
    cdb: array[u8] = length(MAX_COMMAND_SIZE)
    inquiry: array[u8] = length(INQUIRY_LENGTH)
    sdev: ptr[ScsiDevice] = host.devices[target]
    sdev.host = host
    sdev.id = target
    scsi_alloc_queue(sdev)
    cdb[0] = INQUIRY
    cdb[4] = INQUIRY_LENGTH
    if scsi_execute_req(sdev, cdb, inquiry, INQUIRY_LENGTH, INQUIRY_TIMEOUT) != 0 or inquiry[0] == NO_DEVICE:
        return
    sdev.present = True
    sdev.type = inquiry[0] & 0x1F
    scsi_inq_str(sdev.vendor, inquiry, 8, 16)
    scsi_inq_str(sdev.model, inquiry, 16, 32)
    scsi_inq_str(sdev.rev, inquiry, 32, 36)
    printk(f"<6>  Vendor: {sdev.vendor:8s}  Model: {sdev.model:16s}  Rev: {sdev.rev:4s}\n")
    kind: u32 = sdev.type
    name: cstr = "Direct-Access" if kind == TYPE_DISK else "Unknown"
    printk(f"<6>  Type:   {name:s}                    ANSI SCSI revision: {u32(inquiry[2] & 7):02x}\n")
    if kind == TYPE_DISK:
        sd_probe(sdev)


@guest
def scsi_add_host(host: ptr[ScsiHost]) -> None:
    """Give a host its number and its error handler."""
    global nr_scsi_hosts
    host.host_no = nr_scsi_hosts
    nr_scsi_hosts += 1
    spin_lock_init(host.host_lock)
    scsi_start_error_handler(host)
    printk(f"<6>scsi{host.host_no} : {host.name:s}\n")


@guest
def scsi_scan_host(host: ptr[ScsiHost]) -> None:
    """Look for devices on all targets."""
    for target in range(SCSI_MAX_TARGETS):
        scsi_probe_and_add_lun(host, target)
