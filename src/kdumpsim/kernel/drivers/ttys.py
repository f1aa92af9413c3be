# SPDX-License-Identifier: GPL-2.0-or-later
"""/dev/ttyS1: the second serial port as a file of raw bytes (after Linux drivers/serial/serial_core.c)."""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, fn, guest, i32, placed, ptr, u8, usize
from kdumpsim.kernel.core.types import EINTR, EIO
from kdumpsim.kernel.drivers.serial8250 import serial8250_read_some, serial8250_startup, serial8250_write, ttys1
from kdumpsim.kernel.fs.file_types import File, FileOperations
from kdumpsim.kernel.fs.proc import register_proc_fops

ttys1_started: bool = False


@guest
def ttys_open(file: ptr[File]) -> i32:
    """The first open turns the receiver on."""
    global ttys1_started
    if not ttys1_started and not serial8250_startup(ttys1, "serial"):
        return -EIO
    ttys1_started = True
    return 0


@guest
def ttys_read(file: ptr[File], buffer: ptr[u8], count: usize) -> i32:
    """Sleep for at least one byte, then take what there is."""
    return serial8250_read_some(ttys1, buffer, count)


@guest
def ttys_write(file: ptr[File], buffer: ptr[u8], count: usize) -> i32:
    """Send bytes as they are, however long that takes."""
    sent = serial8250_write(ttys1, buffer, count)
    return i32(sent) if sent != 0 or count == 0 else -EINTR


@guest
def ttys_release(file: ptr[File]) -> None:
    """The receiver stays on: what comes while nobody has the port open waits for the next reader."""


ttys_file_operations: FileOperations = FileOperations(
    read=ttys_read, write=ttys_write, release=ttys_release, open=ttys_open
)


@guest
def ttys_init() -> i32:
    """Make /dev/ttyS1."""
    return register_proc_fops("/dev/ttyS1", ttys_file_operations, NULL)


_init_ttys: fn[[], i32] = placed("initcall6", ttys_init)
