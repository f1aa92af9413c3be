# SPDX-License-Identifier: GPL-2.0-or-later
"""The file table: open, read, write and close by path, for the kernel's own threads (Linux fs/open.c, read_write.c).

Paths below /proc, /sys and /dev are files the kernel makes (`fs.proc`); all others lie on the root file system.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    addr,
    array,
    container_of,
    cstr,
    fn,
    guest,
    i32,
    length,
    ptr,
    u8,
    u32,
    u64,
    void,
)
from kdumpsim.kernel.core.rcupdate import call_rcu
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_unlock
from kdumpsim.kernel.core.string import strncmp
from kdumpsim.kernel.core.types import EBADF, EINVAL, EMFILE, RcuHead

if TYPE_CHECKING:
    from kdumpsim.kernel.fs.proc import ProcEntry, proc_open
    from kdumpsim.kernel.fs.toyfs_file import toyfs_open

O_RDONLY: Final = 0
O_WRONLY: Final = 1
O_RDWR: Final = 2
O_ACCMODE: Final = 3
O_CREAT: Final = 0o100
O_TRUNC: Final = 0o1000
NR_OPEN: Final = 64


class FileOperations(Struct):
    """What a kind of file can do; `read` and `write` may be NULL."""

    read: fn[[ptr["File"], ptr[u8], u32], i32]
    write: fn[[ptr["File"], ptr[u8], u32], i32]
    release: fn[[ptr["File"]], None]


class File(Struct):
    """An open file; f_op is NULL in a free slot."""

    f_op: ptr[FileOperations]
    f_flags: u32
    f_pos: u64
    f_size: u32
    private_data: ptr[void]
    entry: ptr["ProcEntry"]
    busy: bool
    f_rcuhead: RcuHead


open_files: array[File] = length(NR_OPEN)
files_lock: Spinlock = Spinlock(slock=1)


@guest
def get_unused_fd() -> i32:
    """Reserve a slot of the table, or -EMFILE."""
    spin_lock(addr(files_lock))
    for fd in range(NR_OPEN):
        if not open_files[fd].busy:
            open_files[fd].busy = True
            spin_unlock(addr(files_lock))
            return i32(fd)
    spin_unlock(addr(files_lock))
    return -EMFILE


@guest
def fget(fd: u32) -> ptr[File]:
    """The open file of a descriptor, or NULL."""
    if fd >= NR_OPEN or not open_files[fd].busy or open_files[fd].f_op == NULL:
        return NULL
    return addr(open_files[fd])


@guest
def is_kernel_file(path: cstr) -> bool:
    """Is it a path below /proc, /sys or /dev?"""
    return strncmp(path, "/proc/", 6) == 0 or strncmp(path, "/sys/", 5) == 0 or strncmp(path, "/dev/", 5) == 0


@guest
def sys_open(path: cstr, flags: u32) -> i32:
    """Open a file by its absolute path; a descriptor or a negative errno."""
    if path[0] != ord("/"):
        return -EINVAL
    fd: i32 = get_unused_fd()
    if fd < 0:
        return fd
    file: ptr[File] = addr(open_files[fd])
    file.f_op = NULL
    file.f_flags = flags
    file.f_pos = 0
    file.f_size = 0
    file.private_data = NULL
    error: i32 = 0
    if is_kernel_file(path):
        error = proc_open(path, file)
    else:
        error = toyfs_open(path, file)
    if error != 0:
        file.f_op = NULL
        file.busy = False
        return error
    return fd


@guest
def sys_read(fd: u32, buffer: ptr[u8], count: u32) -> i32:
    """Read on from the file's position; bytes read, 0 at the end, or a negative errno."""
    file: ptr[File] = fget(fd)
    if file == NULL or file.f_flags & O_ACCMODE == O_WRONLY:
        return -EBADF
    if file.f_op.read == NULL:
        return -EINVAL
    return file.f_op.read(file, buffer, count)


@guest
def sys_write(fd: u32, buffer: ptr[u8], count: u32) -> i32:
    """Write on at the file's position; bytes written or a negative errno."""
    file: ptr[File] = fget(fd)
    if file == NULL or file.f_flags & O_ACCMODE == O_RDONLY:
        return -EBADF
    if file.f_op.write == NULL:
        return -EINVAL
    return file.f_op.write(file, buffer, count)


@guest
def file_free_rcu(head: ptr[RcuHead]) -> None:
    """Nobody can have the closed file in hand any more: the slot is free."""
    container_of(head, File, "f_rcuhead").busy = False


@guest
def sys_close(fd: u32) -> i32:
    """Close a file."""
    file: ptr[File] = fget(fd)
    if file == NULL:
        return -EBADF
    file.f_op.release(file)
    file.f_op = NULL
    call_rcu(addr(file.f_rcuhead), file_free_rcu)
    return 0
