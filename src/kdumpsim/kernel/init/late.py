# SPDX-License-Identifier: GPL-2.0-or-later
"""The last initcall: what user space would be.  A first kernel mounts its root and serves the agent; a capture
kernel, told by elfcorehdr=, saves the dump and nothing else (kdump paper, section 4.4)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, array, fn, guest, i32, length, placed, u8
from kdumpsim.kernel.block.bio import find_disk
from kdumpsim.kernel.capture.elfcorehdr import is_kdump_kernel
from kdumpsim.kernel.capture.savecore import savecore
from kdumpsim.kernel.core.kthread import kernel_thread
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
    """Start the threads this kernel is for."""
    if is_kdump_kernel():
        kernel_thread(savecore, NULL, "savecore")
        return 0
    mount_root()
    return 0


@guest
def init_post() -> None:
    """Thread 1 becomes /sbin/init, or what ``init=`` names; comes back if it cannot."""
    path: array[u8] = length(PATH_SIZE)
    strlcpy(path, "/sbin/init", PATH_SIZE)
    cmdline_find("init=", path, PATH_SIZE)
    error: i32 = kernel_execve(path, NULL)
    printk(f"<4>No init found: {path:s}: error {-error}.  Try passing init= option to kernel.\n")


_init_late: fn[[], i32] = placed("initcall7", late_init)
