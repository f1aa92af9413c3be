# SPDX-License-Identifier: GPL-2.0-or-later
"""The first root file system: a cpio archive in the kernel's image (Linux init/initramfs.c).

Its files are read where they lie; nothing is unpacked, and nothing can be written.  A disk that is mounted as root
hides them.  The format is cpio's "newc" (Documentation/early-userspace/buffer-format.txt): headers of hexadecimal
digits, names and data padded to four bytes.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    array,
    cast,
    cstr,
    external,
    guest,
    i32,
    module_asm,
    ptr,
    u8,
    u32,
    u64,
    usize,
)
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.string import memcpy, strcmp, strncmp
from kdumpsim.kernel.core.types import EIO, ENOENT, EROFS
from kdumpsim.kernel.fs.file_types import O_ACCMODE, O_RDONLY, S_IFREG, File, FileOperations

CPIO_HEADER: Final = 110
CPIO_FILESIZE: Final = 54
CPIO_NAMESIZE: Final = 94
CPIO_BAD: Final = 0xFFFF_FFFF

# A kernel linked without an archive has an empty one.
module_asm('.section initramfs, "a", @progbits')

__start_initramfs: array[u8] = external()
__stop_initramfs: array[u8] = external()


@guest
def cpio_number(digits: ptr[u8]) -> u32:
    """Eight hexadecimal digits; CPIO_BAD for anything else, and for sizes no archive can have."""
    value: u32 = 0
    for i in range(8):
        digit: u32 = digits[i]
        if digit >= ord("0") and digit <= ord("9"):
            digit -= ord("0")
        elif digit | 0x20 >= ord("a") and digit | 0x20 <= ord("f"):
            digit = (digit | 0x20) - ord("a") + 10
        else:
            return CPIO_BAD
        value = value << 4 | digit
    return value if value < 0x8000_0000 else CPIO_BAD


@guest
def cpio_find(archive: ptr[u8], size: usize, name: cstr, data: ptr[ptr[u8]]) -> i32:
    """Find a file: its size, with `data` set; -ENOENT, or -EIO if the archive is broken before it comes."""
    at: usize = 0
    while size - at >= CPIO_HEADER:
        entry = archive + at
        namesize = cpio_number(entry + CPIO_NAMESIZE)
        filesize = cpio_number(entry + CPIO_FILESIZE)
        if strncmp(entry, "070701", 6) != 0 or namesize == CPIO_BAD or filesize == CPIO_BAD:
            return -EIO
        room = size - at - CPIO_HEADER
        if namesize == 0 or namesize > room or entry[CPIO_HEADER + namesize - 1] != 0:
            return -EIO
        start = (CPIO_HEADER + namesize + 3) & ~3
        if start > size - at or filesize > size - at - start:
            return -EIO
        if strcmp(entry + CPIO_HEADER, "TRAILER!!!") == 0:
            return -ENOENT
        if strcmp(entry + CPIO_HEADER, name) == 0:
            data[0] = entry + start
            return i32(filesize)
        at += min((start + filesize + 3) & ~3, size - at)
    return -EIO


@guest
def initramfs_read(file: ptr[File], buffer: ptr[u8], count: usize) -> i32:
    """read()"""
    inode = file.f_dentry.d_inode
    if file.f_pos >= inode.i_size:
        return 0
    n = min(count, u32(inode.i_size - file.f_pos))
    memcpy(buffer, cast(ptr[u8], inode.generic_ip) + u32(file.f_pos), n)
    file.f_pos += n
    return i32(n)


@guest
def initramfs_size(file: ptr[File]) -> u64:
    """Where the file ends."""
    return file.f_dentry.d_inode.i_size


@guest
def initramfs_release(file: ptr[File]) -> None:
    """Nothing is kept for an open file."""


initramfs_file_operations: FileOperations = FileOperations(
    read=initramfs_read, release=initramfs_release, size=initramfs_size
)


@guest
def initramfs_open(path: cstr, file: ptr[File]) -> i32:
    """Open a file of the archive by its absolute path."""
    data: ptr[u8] = NULL
    size = cpio_find(__start_initramfs, usize(__stop_initramfs) - usize(__start_initramfs), path + 1, addr(data))
    if size == -EIO:
        printk("<3>Initramfs: junk in the archive\n")
    if size < 0:
        return size
    if file.f_flags & O_ACCMODE != O_RDONLY:
        return -EROFS
    inode = file.f_dentry.d_inode
    inode.i_mode = S_IFREG | 0o755
    inode.i_size = u32(size)
    inode.i_fop = initramfs_file_operations
    inode.generic_ip = data
    return 0
