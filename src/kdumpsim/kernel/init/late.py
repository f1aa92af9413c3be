# SPDX-License-Identifier: GPL-2.0-or-later
"""The way to user space.  A first kernel mounts its root and starts init from there; a capture kernel, told by
elfcorehdr=, mounts nothing and starts init from its initramfs, to save the dump (kdump paper, section 4.4)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, array, fn, guest, i32, length, placed, u8
from kdumpsim.kernel.block.bio import find_disk
from kdumpsim.kernel.capture.elfcorehdr import is_kdump_kernel
from kdumpsim.kernel.core.panic import panic
from kdumpsim.kernel.core.params import cmdline_find
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.string import strlcpy
from kdumpsim.kernel.fs.exec import kernel_execve
from kdumpsim.kernel.fs.toyfs import toyfs_mount

DISK_NAME: Final = 16
PATH_SIZE: Final = 64


@guest
def mount_root() -> None:
    """Mount the disk named by ``root=``, by default hda or sda; without one the kernel runs on, having no files."""
    name: array[u8] = length(DISK_NAME)
    strlcpy(name, "hda" if find_disk("hda") != NULL else "sda", DISK_NAME)
    cmdline_find("root=", name, DISK_NAME)
    error: i32 = toyfs_mount(name)
    if error != 0:
        printk(f'<4>VFS: Cannot mount root device "{name:s}": error {-error}\n')


@guest
def late_init() -> i32:
    """Mount the root file system, for whoever starts from now on."""
    if not is_kdump_kernel():
        mount_root()
    return 0


@guest
def init_post() -> None:
    """Thread 1 becomes init.

    A first kernel's is /sbin/init or what ``init=`` names, and without one it runs on; a capture kernel's is the
    initramfs's /init or what ``rdinit=`` names, and without one it is good for nothing.
    """
    path: array[u8] = length(PATH_SIZE)
    if is_kdump_kernel():
        strlcpy(path, "/init", PATH_SIZE)
        cmdline_find("rdinit=", path, PATH_SIZE)
        code: i32 = -kernel_execve(path, NULL)
        panic(f"No init found: {path:s}: error {code}.  Try passing rdinit= option to kernel.")
    strlcpy(path, "/sbin/init", PATH_SIZE)
    cmdline_find("init=", path, PATH_SIZE)
    error: i32 = kernel_execve(path, NULL)
    printk(f"<4>No init found: {path:s}: error {-error}.  Try passing init= option to kernel.\n")


_init_late: fn[[], i32] = placed("initcall7", late_init)
