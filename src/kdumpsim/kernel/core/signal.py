# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals, as far as they end processes (kernel/signal.c): there are no handlers, and SIGCHLD is ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import (
    NULL,
    NoReturn,
    addr,
    cast,
    container_of,
    extern,
    fetch_or,
    fn,
    guest,
    i32,
    list_for_each_entry,
    placed,
    ptr,
    sizeof,
    u32,
    usize,
)
from kdumpsim.kernel.architecture import (
    TIF_NEED_RESCHED,
    TIF_SIGPENDING,
    current,
    current_thread_info,
    local_irq_enable,
)
from kdumpsim.kernel.core.init_task import init_sighand, init_signals, init_task
from kdumpsim.kernel.core.list import init_list_head, list_add_tail, list_del, list_empty
from kdumpsim.kernel.core.pid import find_task_by_pid
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.sched import resched_task, schedule, try_to_wake_up
from kdumpsim.kernel.core.sched_types import EXIT_ZOMBIE, PF_KTHREAD, PF_SIGNALED, TASK_INTERRUPTIBLE, TaskStruct
from kdumpsim.kernel.core.signal_types import NSIG, Sigpending, Sigqueue, Sigset
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.syscalls import NR_kill, Syscall
from kdumpsim.kernel.core.types import EINVAL, EPERM, ESRCH, SIGCHLD
from kdumpsim.kernel.core.waitqueue import init_waitqueue
from kdumpsim.kernel.mm.slab import kfree, kzalloc

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs

siglock: Spinlock = Spinlock(slock=1)
"""Guards the lists of signals on their way."""
SI_USER: Final = 0
"""si_code: kill() sent it."""
SI_KERNEL: Final = 0x80
SIG_IGN: Final = 1
"""Value of a handler for a signal that is not noticed; 0 (SIG_DFL) ends the process."""

tasklist_lock: Spinlock = Spinlock(slock=1)
"""Guards the list of all tasks, parents, and who is a zombie."""


@extern
def do_exit(code: i32) -> NoReturn:
    """End this task; exit.py."""
    ...


@guest
def signals_init() -> None:
    """What processes do about signals: they end, but for SIGCHLD."""
    init_waitqueue(init_signals.wait_chldexit)
    init_list_head(init_signals.thread_head)
    list_add_tail(init_task.thread_node, init_signals.thread_head)
    init_sigpending(init_signals.shared_pending)
    init_sigpending(init_task.pending)
    init_sighand.action[SIGCHLD - 1].sa.sa_handler = cast(fn[[i32], None], SIG_IGN)


@guest
def sigaddset(set: ptr[Sigset], signal: u32) -> None:
    """Enter a signal."""
    fetch_or(addr(set.sig[(signal - 1) // 32]), u32(1) << ((signal - 1) % 32))


@guest
def sigismember(set: ptr[Sigset], signal: u32) -> bool:
    """Whether a signal is in a set."""
    return set.sig[(signal - 1) // 32] >> ((signal - 1) % 32) & 1 != 0


@guest
def init_sigpending(sig: ptr[Sigpending]) -> None:
    """No signals."""
    init_list_head(sig.list)


@guest
def send_signal(signal: u32, code: i32, pending: ptr[Sigpending]) -> None:
    """Enter a signal, and what is known of it if it is the first of its kind; siglock, or the task's own."""
    flags = spin_lock_irqsave(siglock)
    entry = cast(ptr[Sigqueue], NULL if sigismember(pending.signal, signal) else kzalloc(sizeof(Sigqueue)))
    if entry != NULL:
        entry.info.si_signo = i32(signal)
        entry.info.si_code = code
        entry.info.si_pid = current().tgid if code == SI_USER else 0
        list_add_tail(entry.list, pending.list)
    sigaddset(pending.signal, signal)
    spin_unlock_irqrestore(siglock, flags)


@guest
def flush_sigqueue(pending: ptr[Sigpending]) -> None:
    """Forget what is known of a dead task's signals."""
    while not list_empty(pending.list):
        entry = container_of(pending.list.next, Sigqueue, "list")
        list_del(entry.list)
        kfree(entry)


@guest
def sender(pending: ptr[Sigpending], signal: u32) -> i32:
    """Who sent a signal; 0 is the kernel, or unknown."""
    for entry in list_for_each_entry(pending.list, Sigqueue, "list"):
        if u32(entry.info.si_signo) == signal:
            return entry.info.si_pid
    return 0


@guest
def force_sig(signal: u32) -> None:
    """Give this process a signal for what it did; it is dealt with on the way back to ring 3."""
    send_signal(signal, SI_KERNEL, current().pending)
    fetch_or(addr(current_thread_info().flags), u32(1) << TIF_SIGPENDING)


@guest
def sig_ignored(task: ptr[TaskStruct], signal: u32) -> bool:
    """Whether a process does nothing about a signal."""
    return usize(task.sighand.action[signal - 1].sa.sa_handler) == SIG_IGN


@guest
def group_send_sig(signal: u32, task: ptr[TaskStruct]) -> None:
    """Give a process a signal; its threads are woken, or made to enter the kernel.  tasklist_lock is held."""
    if sig_ignored(task, signal):
        return
    send_signal(signal, SI_USER, task.signal.shared_pending)
    for thread in list_for_each_entry(task.signal.thread_head, TaskStruct, "thread_node"):
        fetch_or(addr(thread.thread_info.flags), u32(1) << TIF_SIGPENDING)
        try_to_wake_up(thread, TASK_INTERRUPTIBLE)
        resched_task(thread)


@guest
def do_signal() -> None:
    """Die of the first pending signal."""
    task = current()
    for signal in range(1, NSIG + 1):
        if sigismember(task.pending.signal, signal) or sigismember(task.signal.shared_pending.signal, signal):
            task.flags |= PF_SIGNALED
            by = sender(task.signal.shared_pending, signal)
            printk(f"<7>{task.comm:s}[{task.pid}]: ends of signal {signal}, sent by pid {by}\n")
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
    if signal != 0 and task.state != EXIT_ZOMBIE:
        group_send_sig(signal, task)
    return 0


@guest
def sys_kill(regs: ptr[PtRegs]) -> i32:
    """kill(pid, signal): signal 0 only asks whether the process is there."""
    if regs.ecx > NSIG or i32(regs.ebx) <= 0:
        return -EINVAL
    flags = spin_lock_irqsave(tasklist_lock)
    error = kill_task(i32(regs.ebx), regs.ecx)
    spin_unlock_irqrestore(tasklist_lock, flags)
    return error


_syscall_kill: Syscall = placed("syscalls", Syscall(nr=NR_kill, call=sys_kill))
