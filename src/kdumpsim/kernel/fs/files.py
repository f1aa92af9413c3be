# SPDX-License-Identifier: GPL-2.0-or-later
"""Open files and descriptors (Linux fs/{read_write,file_table}.c): what the kernel's own threads use too.

Each process has a table of descriptors of its own, kernel threads share one.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    cast,
    container_of,
    fetch_add,
    fetch_sub,
    guest,
    i32,
    ptr,
    sizeof,
    u8,
    u32,
    usize,
)
from kdumpsim.kernel.architecture import current
from kdumpsim.kernel.core.rcupdate import call_rcu
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_unlock
from kdumpsim.kernel.core.types import EBADF, EINVAL, EMFILE, RcuHead
from kdumpsim.kernel.fs.file_types import NR_OPEN, O_ACCMODE, O_RDONLY, O_WRONLY, File, FilesStruct
from kdumpsim.kernel.mm.slab import kfree, kzalloc

kernel_files: FilesStruct = FilesStruct()
"""The kernel threads' table."""
files_lock: Spinlock = Spinlock(slock=1)
reserved_file: File = File()
"""Stands in a table for a file that is being opened."""


@guest
def current_files() -> ptr[FilesStruct]:
    """This task's table."""
    files = current().files
    return files if files != NULL else kernel_files


@guest
def get_unused_fd() -> i32:
    """Reserve a descriptor, or -EMFILE."""
    files = current_files()
    result: i32 = -EMFILE
    spin_lock(files_lock)
    for fd in range(NR_OPEN):
        if files.fd[fd] == NULL:
            files.fd[fd] = reserved_file
            result = i32(fd)
            break
    spin_unlock(files_lock)
    return result


@guest
def fget(fd: u32) -> ptr[File]:
    """The open file of a descriptor, or NULL."""
    if fd >= NR_OPEN:
        return NULL
    file = current_files().fd[fd]
    return NULL if file == reserved_file else file


@guest
def file_free_rcu(head: ptr[RcuHead]) -> None:
    """Nobody can have the closed file in hand any more."""
    kfree(container_of(head, File, "f_rcuhead"))


@guest
def fput(file: ptr[File]) -> None:
    """Give a file back; the last one closes it."""
    if fetch_sub(addr(file.f_count), 1) == 1:
        file.f_op.release(file)
        call_rcu(file.f_rcuhead, file_free_rcu)


@guest
def sys_read(fd: u32, buffer: ptr[u8], count: usize) -> i32:
    """Read on from the file's position; bytes read, 0 at the end, or a negative errno."""
    file: ptr[File] = fget(fd)
    if file == NULL or file.f_flags & O_ACCMODE == O_WRONLY:
        return -EBADF
    if file.f_op.read == NULL:
        return -EINVAL
    return file.f_op.read(file, buffer, count)


@guest
def sys_write(fd: u32, buffer: ptr[u8], count: usize) -> i32:
    """Write on at the file's position; bytes written or a negative errno."""
    file: ptr[File] = fget(fd)
    if file == NULL or file.f_flags & O_ACCMODE == O_RDONLY:
        return -EBADF
    if file.f_op.write == NULL:
        return -EINVAL
    return file.f_op.write(file, buffer, count)


@guest
def sys_close(fd: u32) -> i32:
    """Close a descriptor."""
    file: ptr[File] = fget(fd)
    if file == NULL:
        return -EBADF
    current_files().fd[fd] = NULL
    fput(file)
    return 0


@guest
def share_files(inherited: u32) -> ptr[FilesStruct]:
    """A table for a new process, with this task's first descriptors; NULL without memory."""
    files = cast(ptr[FilesStruct], kzalloc(sizeof(FilesStruct)))
    if files != NULL:
        for fd in range(inherited):
            file = fget(fd)
            if file != NULL:
                fetch_add(addr(file.f_count), 1)
                files.fd[fd] = file
    return files


@guest
def put_files(files: ptr[FilesStruct]) -> None:
    """Close all of a process's files; NULL is nothing."""
    if files == NULL:
        return
    for fd in range(NR_OPEN):
        if files.fd[fd] != NULL:
            fput(files.fd[fd])
    kfree(files)
