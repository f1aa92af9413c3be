# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person at the console does to a system besides its work: log in, and shut it down.

Both are done by a thread of their own, so that one which hangs on a lock that a dead task holds hangs alone.  A login
does what login(1) does to a kernel: it starts a task, reads a file from the disk, writes the record of the login and
waits until that is on the disk.  A shutdown kills the programs, turns swap off, brings the file system in order, as
remounting it read-only does, and restarts the machine.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    array,
    cstr,
    guest,
    i32,
    length,
    list_for_each_entry,
    placed,
    ptr,
    u8,
    u32,
    void,
)
from kdumpsim.kernel.architecture import machine_restart
from kdumpsim.kernel.block.ll_rw_block import sync_blocks
from kdumpsim.kernel.core.init_task import init_task
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.sched_types import EXIT_ZOMBIE, PF_KTHREAD, TaskStruct
from kdumpsim.kernel.core.signal import group_send_sig, tasklist_lock
from kdumpsim.kernel.core.spinlock import spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.timer import msleep
from kdumpsim.kernel.core.types import SIGKILL
from kdumpsim.kernel.fs.file_types import O_RDONLY, O_RDWR
from kdumpsim.kernel.fs.files import sys_close, sys_read, sys_write
from kdumpsim.kernel.fs.open import sys_open
from kdumpsim.kernel.fs.toyfs import toyfs_lock, toyfs_root
from kdumpsim.kernel.fs.toyfs_file import sys_fsync, sys_rewind
from kdumpsim.kernel.mm.swapoff import swapoff
from kdumpsim.kernel.testing.workload import Workload

PASSWD: cstr = "/etc/passwd"
WTMP: cstr = "/var/log/wtmp"
PIECE: Final = 64
KILL_INTERVAL: Final = 50
"""Milliseconds between two looks whether the programs are gone."""
KILL_PATIENCE: Final = 100
"""How many looks: 5 seconds, as sysvinit gives them."""


@guest
def login_read_passwd() -> i32:
    """Read the first piece of /etc/passwd from the disk, whatever the cache holds."""
    piece: array[u8] = length(PIECE)
    fd: i32 = sys_open(PASSWD, O_RDONLY)
    if fd < 0:
        return fd
    sys_rewind(u32(fd), True)
    n: i32 = sys_read(u32(fd), piece, PIECE)
    sys_close(u32(fd))
    return n


@guest
def login_write_wtmp() -> i32:
    """Record the login and wait until the record is on the disk."""
    record: array[u8] = length(PIECE)
    fd: i32 = sys_open(WTMP, O_RDWR)
    if fd < 0:
        return fd
    for i in range(PIECE):
        record[i] = u8(ord("a") + i % 26)
    error: i32 = sys_write(u32(fd), record, PIECE)
    if error >= 0:
        error = sys_fsync(u32(fd))
    sys_close(u32(fd))
    return error


@guest
def login(argument: ptr[void]) -> i32:
    """The thread of one login; what it prints last stands for the prompt."""
    error: i32 = login_read_passwd()
    if error >= 0:
        error = login_write_wtmp()
    if error < 0:
        printk(f"<4>login: cannot make a session: error {-error}\n")
        return error
    printk("<6>login: root logged in on ttyS0\n")
    return 0


@guest
def kill_programs() -> u32:
    """Kill all processes but init and those it started itself and would start again; how many there were."""
    killed: u32 = 0
    flags = spin_lock_irqsave(tasklist_lock)
    for task in list_for_each_entry(init_task.tasks, TaskStruct, "tasks"):
        if task.flags & PF_KTHREAD == 0 and task.pid != 1 and task.parent.pid != 1 and task.state != EXIT_ZOMBIE:
            group_send_sig(SIGKILL, task)
            killed += 1
    spin_unlock_irqrestore(tasklist_lock, flags)
    return killed


@guest
def shutdown(argument: ptr[void]) -> i32:
    """The thread of ``shutdown -r``: programs, swap and file system end, all is written; restart."""
    printk("<5>shutdown: The system is going down for reboot NOW!\n")
    patience: u32 = KILL_PATIENCE
    while patience != 0 and kill_programs() != 0:
        msleep(KILL_INTERVAL)
        patience -= 1
    swapoff()
    if toyfs_root.bdev != NULL:
        toyfs_lock()
        sync_blocks(toyfs_root.bdev, 0, toyfs_root.super.blocks)
    printk("<0>Restarting system.\n")
    machine_restart()


_workload_login: Workload = placed("workloads", Workload(name="login", main=login))
_workload_shutdown: Workload = placed("workloads", Workload(name="shutdown", main=shutdown))
