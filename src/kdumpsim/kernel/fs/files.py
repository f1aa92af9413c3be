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
    fn,
    guest,
    i32,
    placed,
    ptr,
    sizeof,
    u8,
    u32,
    usize,
)
from kdumpsim.kernel.architecture import current
from kdumpsim.kernel.core.init_task import init_files
from kdumpsim.kernel.core.rcupdate import call_rcu
from kdumpsim.kernel.core.spinlock import spin_lock, spin_lock_init, spin_unlock
from kdumpsim.kernel.core.types import BITS_PER_LONG, EBADF, EINVAL, EMFILE, RcuHead
from kdumpsim.kernel.fs.dcache import dput
from kdumpsim.kernel.fs.file_types import (
    NR_OPEN,
    O_ACCMODE,
    O_RDONLY,
    O_WRONLY,
    Dentry,
    File,
    FilesStruct,
)
from kdumpsim.kernel.mm.slab import kfree, kmem_cache_create, kmem_cache_zalloc
from kdumpsim.kernel.mm.slab_types import KmemCache

filp_cachep: ptr[KmemCache] = NULL
files_cachep: ptr[KmemCache] = NULL


@guest
def setup_fdtable(files: ptr[FilesStruct]) -> None:
    """Make a table of descriptors, none of which is taken."""
    files.fdt = addr(files.fdtab)
    files.fdt.max_fds = NR_OPEN
    files.fdt.max_fdset = NR_OPEN
    files.fdt.fd = files.fd_array
    files.fdt.open_fds = addr(files.open_fds_init)
    spin_lock_init(files.file_lock)


@guest
def files_init() -> i32:
    """Make the kernel threads' table, and the caches of tables and of open files."""
    global filp_cachep, files_cachep
    filp_cachep = kmem_cache_create("filp", sizeof(File))
    files_cachep = kmem_cache_create("files_cache", sizeof(FilesStruct))
    setup_fdtable(init_files)
    return 0


_init_files: fn[[], i32] = placed("initcall1", files_init)


@guest
def get_unused_fd() -> i32:
    """Reserve a descriptor, or -EMFILE."""
    files = current().files
    result: i32 = -EMFILE
    spin_lock(files.file_lock)
    for fd in range(NR_OPEN):
        word = addr(files.fdt.open_fds.fds_bits[fd // BITS_PER_LONG])
        if word[0] >> (fd % BITS_PER_LONG) & 1 == 0:
            word[0] |= u32(1) << (fd % BITS_PER_LONG)
            result = i32(fd)
            break
    spin_unlock(files.file_lock)
    return result


@guest
def put_unused_fd(fd: u32) -> None:
    """Give a descriptor back."""
    files = current().files
    spin_lock(files.file_lock)
    files.fdt.open_fds.fds_bits[fd // BITS_PER_LONG] &= ~(u32(1) << (fd % BITS_PER_LONG))
    spin_unlock(files.file_lock)


@guest
def fd_install(files: ptr[FilesStruct], fd: u32, file: ptr[File]) -> None:
    """Make a descriptor stand for an open file."""
    spin_lock(files.file_lock)
    files.fdt.open_fds.fds_bits[fd // BITS_PER_LONG] |= u32(1) << (fd % BITS_PER_LONG)
    files.fdt.fd[fd] = file
    spin_unlock(files.file_lock)


@guest
def fget(fd: u32) -> ptr[File]:
    """The open file of a descriptor, or NULL."""
    return current().files.fdt.fd[fd] if fd < NR_OPEN else NULL


@guest
def get_empty_filp(dentry: ptr[Dentry], flags: u32) -> ptr[File]:
    """An open file by this name, which it takes over; NULL without memory, or without a name."""
    if dentry == NULL:
        return NULL
    file = cast(ptr[File], kmem_cache_zalloc(filp_cachep))
    if file == NULL:
        dput(dentry)
        return NULL
    file.f_dentry = dentry
    file.f_vfsmnt = current().fs.rootmnt
    file.f_flags = flags
    file.f_count = 1
    return file


@guest
def file_free_rcu(head: ptr[RcuHead]) -> None:
    """Nobody can have the closed file in hand any more."""
    kfree(container_of(head, File, "f_rcuhead"))


@guest
def fput(file: ptr[File]) -> None:
    """Give a file back; the last one closes it."""
    if fetch_sub(addr(file.f_count), 1) == 1:
        file.f_op.release(file)
        dput(file.f_dentry)
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
    current().files.fdt.fd[fd] = NULL
    put_unused_fd(fd)
    fput(file)
    return 0


@guest
def share_files(inherited: u32) -> ptr[FilesStruct]:
    """A table for a new process, with this task's first descriptors; NULL without memory."""
    files = cast(ptr[FilesStruct], kmem_cache_zalloc(files_cachep))
    if files == NULL:
        return NULL
    files.count = 1
    setup_fdtable(files)
    for fd in range(inherited):
        file = fget(fd)
        if file != NULL:
            fetch_add(addr(file.f_count), 1)
            fd_install(files, fd, file)
    return files


@guest
def put_files(files: ptr[FilesStruct]) -> None:
    """Give a table back; the last task closes its files.  NULL is nothing."""
    if files == NULL or fetch_add(addr(files.count), u32(-1)) != 1:
        return
    for fd in range(NR_OPEN):
        if files.fdt.fd[fd] != NULL:
            fput(files.fdt.fd[fd])
    kfree(files)
