# SPDX-License-Identifier: GPL-2.0-or-later
"""diskio [file]: write a file, sync it, read it back from the disk, compare, sleep, and again, for ever."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import array, cstr, guest, i32, length, ptr, u32
from kdumpsim.userland.lib import (
    O_CREAT,
    O_RDWR,
    POSIX_FADV_DONTNEED,
    SEEK_SET,
    close,
    fadvise,
    fail,
    fsync,
    lseek,
    nanosleep,
    open,
    read,
    write,
)

EIO: Final = 5
CHUNK_WORDS: Final = 1024
CHUNK: Final = CHUNK_WORDS * 4
CHUNKS: Final = 16
THINK_TIME: Final = 1_000_000
"""Nanoseconds between two passes."""

words: array[u32] = length(CHUNK_WORDS)


@guest
def fill(seed: u32) -> None:
    """A chunk that no other chunk equals."""
    for i in range(CHUNK_WORDS):
        words[i] = seed + i


@guest
def check(seed: u32) -> bool:
    """Is it the chunk made from `seed`?"""
    for i in range(CHUNK_WORDS):
        if words[i] != seed + i:
            return False
    return True


@guest
def one_pass(fd: u32, number: u32) -> i32:
    """Write the file, sync it, and read it back from the disk."""
    for i in range(CHUNKS):
        fill((number << 16) + (i << 10))
        if write(fd, words, CHUNK) != CHUNK:
            return -EIO
        if i % 4 == 3:
            error = fsync(fd)
            if error != 0:
                return error
    lseek(fd, 0, SEEK_SET)
    fadvise(fd, POSIX_FADV_DONTNEED)
    for i in range(CHUNKS):
        if read(fd, words, CHUNK) != CHUNK or not check((number << 16) + (i << 10)):
            return -EIO
    return 0


@guest
def main(argc: u32, argv: ptr[cstr]) -> i32:
    """The program."""
    path: cstr = argv[1] if argc > 1 else "/diskio"
    number: u32 = 0
    error: i32 = 0
    while error == 0:
        fd = open(path, O_RDWR | O_CREAT)
        if fd < 0:
            fail("diskio: cannot open the file", fd)
        error = one_pass(u32(fd), number)
        close(u32(fd))
        number += 1
        nanosleep(0, THINK_TIME)
    fail("diskio: a pass failed", error)
