# SPDX-License-Identifier: GPL-2.0-or-later
"""The file-system workload: write a file, sync it, read it back from the disk, compare, close, sleep, and again."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, cast, cstr, guest, i32, placed, ptr, u8, u32, void
from kdumpsim.kernel.core.hrtimer import hrtimer_nanosleep
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.types import EIO, ENOMEM
from kdumpsim.kernel.fs.files import O_CREAT, O_RDWR, sys_close, sys_open, sys_read, sys_write
from kdumpsim.kernel.fs.toyfs_file import sys_fsync, sys_rewind
from kdumpsim.kernel.init.workload import Workload
from kdumpsim.kernel.mm.page_alloc import __get_free_pages

CHUNK_WORDS: Final = 1024
CHUNK: Final = CHUNK_WORDS * 4
CHUNKS: Final = 16
THINK_TIME: Final = 1_000_000
"""Nanoseconds between two passes."""


@guest
def diskio_fill(words: ptr[u32], seed: u32) -> None:
    """A chunk that no other chunk equals."""
    for i in range(CHUNK_WORDS):
        words[i] = seed + i


@guest
def diskio_check(words: ptr[u32], seed: u32) -> bool:
    """Is it the chunk made from `seed`?"""
    for i in range(CHUNK_WORDS):
        if words[i] != seed + i:
            return False
    return True


@guest
def diskio_pass(fd: u32, words: ptr[u32], number: u32) -> i32:
    """Write the file, sync it, and read it back from the disk."""
    buffer: ptr[u8] = cast(ptr[u8], words)
    for i in range(CHUNKS):
        diskio_fill(words, (number << 16) + (i << 10))
        if sys_write(fd, buffer, CHUNK) != CHUNK:
            return -EIO
        if i % 4 == 3:
            error: i32 = sys_fsync(fd)
            if error != 0:
                return error
    sys_rewind(fd, True)
    for i in range(CHUNKS):
        if sys_read(fd, buffer, CHUNK) != CHUNK or not diskio_check(words, (number << 16) + (i << 10)):
            return -EIO
    return 0


@guest
def diskio(argument: ptr[void]) -> i32:
    """The thread; its argument is the file's path, /diskio by default."""
    path: cstr = cast(cstr, argument)
    if path[0] == 0:
        path = "/diskio"
    words: ptr[u32] = cast(ptr[u32], __get_free_pages(0))
    if words == NULL:
        return -ENOMEM
    number: u32 = 0
    error: i32 = 0
    while error == 0:
        fd: i32 = sys_open(path, O_RDWR | O_CREAT)
        if fd < 0:
            printk(f"<3>diskio: cannot open {path:s}: error {-fd}\n")
            return fd
        error = diskio_pass(u32(fd), words, number)
        sys_close(u32(fd))
        number += 1
        hrtimer_nanosleep(THINK_TIME)
    printk(f"<3>diskio: pass {number} failed: error {-error}\n")
    return error


_workload_diskio: Workload = placed("workloads", Workload(name="diskio", main=diskio))
