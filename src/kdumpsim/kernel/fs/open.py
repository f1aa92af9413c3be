# SPDX-License-Identifier: GPL-2.0-or-later
"""Opening files by their absolute paths (fs/open.c, fs/namei.c)."""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, addr, cstr, guest, i32, ptr, u32
from kdumpsim.kernel.architecture import current
from kdumpsim.kernel.core.types import EINVAL, ENOMEM
from kdumpsim.kernel.fs.dcache import dput, path_lookup
from kdumpsim.kernel.fs.file_types import O_DIRECTORY, File
from kdumpsim.kernel.fs.files import fd_install, fput, get_empty_filp, get_unused_fd, put_unused_fd
from kdumpsim.kernel.fs.initramfs import initramfs_open
from kdumpsim.kernel.fs.proc import is_kernel_file, proc_open
from kdumpsim.kernel.fs.readdir import open_directory
from kdumpsim.kernel.fs.toyfs import toyfs_root
from kdumpsim.kernel.fs.toyfs_file import toyfs_open
from kdumpsim.kernel.mm.slab import kfree


@guest
def path_open(path: cstr, file: ptr[File]) -> i32:
    """Open `file` where its path leads: what the kernel makes, else the mounted disk, else the initramfs."""
    if file.f_flags & O_DIRECTORY:
        return open_directory(path, file)
    if is_kernel_file(path):
        return proc_open(path, file)
    if toyfs_root.bdev != NULL:
        return toyfs_open(path, file)
    return initramfs_open(path, file)


@guest
def filp_open(path: cstr, flags: u32, out: ptr[ptr[File]]) -> i32:
    """Open a file by its absolute path; 0 or a negative errno."""
    if path[0] != ord("/"):
        return -EINVAL
    file = get_empty_filp(path_lookup(path), flags)
    if file == NULL:
        return -ENOMEM
    error = path_open(path, file)
    if error != 0:
        dput(file.f_dentry)
        kfree(file)
        return error
    file.f_op = file.f_dentry.d_inode.i_fop
    if file.f_op.open != NULL:
        error = file.f_op.open(file)
        if error != 0:
            fput(file)
            return error
    out[0] = file
    return 0


@guest
def sys_open(path: cstr, flags: u32) -> i32:
    """Open a file by its absolute path; a descriptor or a negative errno."""
    fd: i32 = get_unused_fd()
    if fd < 0:
        return fd
    file: ptr[File] = NULL
    error = filp_open(path, flags, addr(file))
    if error != 0:
        put_unused_fd(u32(fd))
        return error
    fd_install(current().files, u32(fd), file)
    return fd
