# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of tasks, and waiting for it (kernel/exit.c).

A process stays a zombie until its parent has asked for its exit code; kernel threads vanish by themselves.  Children
of a dead process become init's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import (
    BUG,
    NULL,
    NoReturn,
    addr,
    container_of,
    fetch_add,
    guest,
    i32,
    list_for_each_entry,
    load_volatile,
    placed,
    ptr,
    u32,
)
from kdumpsim.kernel.architecture import copy_to_user, cpu_relax, current, switch_mm
from kdumpsim.kernel.core.alarm import exit_itimers
from kdumpsim.kernel.core.hardirq import in_atomic, in_interrupt, preempt_count
from kdumpsim.kernel.core.init_task import init_task
from kdumpsim.kernel.core.kthread import free_thread_info, unhash_process
from kdumpsim.kernel.core.panic import panic
from kdumpsim.kernel.core.pid import find_task_by_pid
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.rcupdate import call_rcu
from kdumpsim.kernel.core.sched import schedule, signal_pending
from kdumpsim.kernel.core.sched_types import (
    EXIT_DEAD,
    EXIT_ZOMBIE,
    PF_EXITING,
    PF_KTHREAD,
    TASK_INTERRUPTIBLE,
    TaskStruct,
)
from kdumpsim.kernel.core.signal import flush_sigqueue, tasklist_lock
from kdumpsim.kernel.core.spinlock import preempt_disable, preempt_enable, spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.syscalls import NR_exit, NR_waitpid, Syscall
from kdumpsim.kernel.core.types import ECHILD, EFAULT, EINTR, RcuHead
from kdumpsim.kernel.core.wait import WaitEntry, finish_wait, prepare_to_wait, wake_up
from kdumpsim.kernel.fs.files import put_files
from kdumpsim.kernel.mm.memory import mmput
from kdumpsim.kernel.mm.slab import kfree

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs

WNOHANG: Final = 1


@guest
def exit_mm(task: ptr[TaskStruct]) -> None:
    """Give up this task's address space."""
    mm = task.mm
    preempt_disable()
    task.mm = NULL
    switch_mm(NULL)
    preempt_enable()
    mmput(mm)


@guest
def wake_parent(parent: ptr[TaskStruct]) -> None:
    """Tell a parent that a child of it has died."""
    wake_up(parent.signal.wait_chldexit)


@guest
def forget_children(task: ptr[TaskStruct]) -> None:
    """Leave the children of a dying task to init.  tasklist_lock is held."""
    reaper = find_task_by_pid(1)
    for child in list_for_each_entry(init_task.tasks, TaskStruct, "tasks"):
        if child.parent == task:
            child.parent = reaper
            if child.state == EXIT_ZOMBIE:
                wake_parent(reaper)


@guest
def exit_notify(task: ptr[TaskStruct]) -> None:
    """Become a zombie that the parent will bury, or nothing at all; preemption is off for good."""
    flags = spin_lock_irqsave(tasklist_lock)
    forget_children(task)
    if task.flags & PF_KTHREAD:
        unhash_process(task)
        task.state = EXIT_DEAD
    else:
        task.state = EXIT_ZOMBIE
        wake_parent(task.parent)
    spin_unlock_irqrestore(tasklist_lock, flags)


@guest
def delayed_put_task_struct(head: ptr[RcuHead]) -> None:
    """Nobody who walked the list of tasks can have this one in hand any more: free it and its stack."""
    p: ptr[TaskStruct] = container_of(head, TaskStruct, "rcu")
    fetch_add(addr(p.fs.count), u32(-1))
    fetch_add(addr(p.sighand.count), u32(-1))
    flush_sigqueue(p.pending)
    flush_sigqueue(p.signal.shared_pending)
    kfree(p.signal)
    free_thread_info(p.thread_info)
    kfree(p)


@guest
def put_dead_task(p: ptr[TaskStruct]) -> None:
    """Free a task that will never run again, when nobody can be looking at it."""
    call_rcu(p.rcu, delayed_put_task_struct)


@guest
def do_exit(code: i32) -> NoReturn:
    """End this task; locks it holds stay held."""
    task = current()
    if in_interrupt():
        panic("Aiee, killing interrupt handler!")
    if task.pid == 0:
        panic("Attempted to kill the idle task!")
    if task.pid == 1:
        panic("Attempted to kill init!")
    task.flags |= PF_EXITING
    if in_atomic():
        printk("<6>note: %s[%d] exited with preempt_count %d\n", task.comm, u32(task.pid), u32(preempt_count()))
    task.signal.group_exit_code = code
    exit_itimers(task)
    exit_mm(task)
    put_files(task.files)
    task.files = NULL
    preempt_disable()
    exit_notify(task)
    schedule()
    BUG()


@guest
def release_task(task: ptr[TaskStruct]) -> None:
    """Free a zombie that is on no list any more, once no CPU runs on its stack."""
    while load_volatile(addr(task.on_cpu)):
        cpu_relax()
    put_dead_task(task)


@guest
def find_dead_child(pid: i32, out: ptr[ptr[TaskStruct]]) -> bool:
    """Whether this task has such children (pid -1: any); a dead one comes off the list and out.  tasklist_lock held."""
    task = current()
    found = False
    for child in list_for_each_entry(init_task.tasks, TaskStruct, "tasks"):
        if child.parent != task or child.flags & PF_KTHREAD or (pid != -1 and child.pid != pid):
            continue
        found = True
        if child.state == EXIT_ZOMBIE:
            unhash_process(child)
            out[0] = child
            return True
    return found


@guest
def wait_for_child(pid: i32, options: u32, out: ptr[ptr[TaskStruct]]) -> i32:
    """Sleep until a child is dead; 0, or a negative errno, or 0 without a child for WNOHANG."""
    error: i32 = 0
    wait: WaitEntry = WaitEntry()
    queue = addr(current().signal.wait_chldexit)
    while True:
        prepare_to_wait(queue, wait, TASK_INTERRUPTIBLE)
        flags = spin_lock_irqsave(tasklist_lock)
        if not find_dead_child(pid, out):
            error = -ECHILD
        spin_unlock_irqrestore(tasklist_lock, flags)
        if out[0] != NULL or error != 0 or options & WNOHANG:
            break
        if signal_pending():
            error = -EINTR
            break
        schedule()
    finish_wait(queue, wait)
    return error


@guest
def sys_waitpid(regs: ptr[PtRegs]) -> i32:
    """waitpid(pid, status, options): pid -1 is any child; the dead one's pid, 0 (WNOHANG), or a negative errno."""
    child: ptr[TaskStruct] = NULL
    error = wait_for_child(i32(regs.ebx), regs.edx, addr(child))
    if child == NULL:
        return error
    pid = child.pid
    status = child.signal.group_exit_code
    release_task(child)
    if regs.ecx != 0 and copy_to_user(regs.ecx, addr(status), 4) != 0:
        return -EFAULT
    return pid


@guest
def sys_exit(regs: ptr[PtRegs]) -> i32:
    """exit(code)"""
    do_exit(i32((regs.ebx & 0xFF) << 8))


_syscall_exit: Syscall = placed("syscalls", Syscall(nr=NR_exit, call=sys_exit))
_syscall_waitpid: Syscall = placed("syscalls", Syscall(nr=NR_waitpid, call=sys_waitpid))
