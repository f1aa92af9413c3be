# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals, as far as they end processes (kernel/signal.c): there are no handlers, and SIGCHLD is ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpsim.compiler.lang import (
    NULL,
    NoReturn,
    addr,
    extern,
    fetch_or,
    guest,
    i32,
    list_for_each_entry,
    placed,
    ptr,
    u32,
)
from kdumpsim.kernel.architecture import (
    TIF_NEED_RESCHED,
    TIF_SIGPENDING,
    current,
    current_thread_info,
    local_irq_enable,
)
from kdumpsim.kernel.core.init_task import init_task
from kdumpsim.kernel.core.sched import resched_task, schedule, try_to_wake_up
from kdumpsim.kernel.core.sched_types import EXIT_ZOMBIE, PF_KTHREAD, PF_SIGNALED, TASK_INTERRUPTIBLE, TaskStruct
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.syscalls import NR_kill, Syscall
from kdumpsim.kernel.core.types import EINVAL, EPERM, ESRCH, NSIG, SIGCHLD

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs

tasklist_lock: Spinlock = Spinlock(slock=1)
"""Guards the list of all tasks, parents, and who is a zombie."""


@extern
def do_exit(code: i32) -> NoReturn:
    """End this task; exit.py."""
    ...


@guest
def force_sig(signal: u32) -> None:
    """Give this process a signal for what it did; it is dealt with on the way back to ring 3."""
    fetch_or(addr(current().pending), 1 << signal)
    fetch_or(addr(current_thread_info().flags), 1 << TIF_SIGPENDING)


@guest
def send_sig(signal: u32, task: ptr[TaskStruct]) -> None:
    """Give a process a signal; it is woken, or made to enter the kernel.  tasklist_lock is held."""
    fetch_or(addr(task.pending), 1 << signal)
    fetch_or(addr(task.thread_info.flags), 1 << TIF_SIGPENDING)
    try_to_wake_up(task, TASK_INTERRUPTIBLE)
    resched_task(task)


@guest
def find_task_by_pid(pid: i32) -> ptr[TaskStruct]:
    """A task by its number, or NULL.  tasklist_lock is held."""
    for task in list_for_each_entry(init_task.tasks, TaskStruct, "tasks"):
        if task.pid == pid:
            return task
    return NULL


@guest
def do_signal() -> None:
    """Die of the first pending signal."""
    task = current()
    for signal in range(NSIG):
        if task.pending >> signal & 1:
            task.flags |= PF_SIGNALED
            do_exit(i32(signal))


@guest
def do_notify_resume(regs: ptr[PtRegs]) -> None:
    """Something is to be done before this task returns to ring 3; called with interrupts off."""
    local_irq_enable()
    flags = current_thread_info().flags
    if flags & (1 << TIF_NEED_RESCHED):
        schedule()
    if flags & (1 << TIF_SIGPENDING):
        do_signal()


@guest
def kill_task(pid: i32, signal: u32) -> i32:
    """Send a signal to a process that may be killed: not to init, not to kernel threads."""
    task = find_task_by_pid(pid)
    if task == NULL:
        return -ESRCH
    if task.flags & PF_KTHREAD or pid == 1:
        return -EPERM
    if signal != 0 and signal != SIGCHLD and task.state != EXIT_ZOMBIE:
        send_sig(signal, task)
    return 0


@guest
def sys_kill(regs: ptr[PtRegs]) -> i32:
    """kill(pid, signal): signal 0 only asks whether the process is there."""
    if regs.ecx >= NSIG or i32(regs.ebx) <= 0:
        return -EINVAL
    flags = spin_lock_irqsave(tasklist_lock)
    error = kill_task(i32(regs.ebx), regs.ecx)
    spin_unlock_irqrestore(tasklist_lock, flags)
    return error


_syscall_kill: Syscall = placed("syscalls", Syscall(nr=NR_kill, call=sys_kill))
