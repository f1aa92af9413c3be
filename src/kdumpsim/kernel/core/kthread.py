# SPDX-License-Identifier: GPL-2.0-or-later
"""Making tasks, kernel threads above all (kernel/fork.c, kernel_thread() of arch/i386/kernel/process.c)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    NoReturn,
    addr,
    cast,
    cstr,
    extern,
    fetch_add,
    fn,
    guest,
    i32,
    ptr,
    sizeof,
    u8,
    u32,
    void,
)
from kdumpsim.kernel.architecture import (
    PAGE_SHIFT,
    ThreadInfo,
    current,
    guard_stack,
    kernel_thread_setup,
    set_stack_end_magic,
    smp_processor_id,
    unguard_stack,
)
from kdumpsim.kernel.core.config import STACK_GUARD, TASK_COMM_LEN, THREAD_SIZE
from kdumpsim.kernel.core.init_task import init_files, init_fs, init_sighand, init_task
from kdumpsim.kernel.core.itimer import init_itimers
from kdumpsim.kernel.core.list import init_list_head, list_add_tail, list_del
from kdumpsim.kernel.core.panic import panic
from kdumpsim.kernel.core.pid import attach_pid, detach_pid
from kdumpsim.kernel.core.pid_types import PIDTYPE_PID
from kdumpsim.kernel.core.sched import finish_task_switch, init_idle, set_cpus_allowed, wake_up_new_task
from kdumpsim.kernel.core.sched_types import (
    CPU_MASK_ALL,
    DEFAULT_PRIO,
    PF_KTHREAD,
    TASK_UNINTERRUPTIBLE,
    SignalStruct,
    TaskStruct,
)
from kdumpsim.kernel.core.signal import init_sigpending
from kdumpsim.kernel.core.signal import tasklist_lock as tasklist_lock
from kdumpsim.kernel.core.spinlock import spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.string import strlcpy
from kdumpsim.kernel.core.waitqueue import init_waitqueue
from kdumpsim.kernel.mm.page_alloc import __get_free_pages, free_pages
from kdumpsim.kernel.mm.slab import kfree, kmem_cache_create, kmem_cache_zalloc
from kdumpsim.kernel.mm.slab_types import KmemCache

THREAD_ORDER: Final = (1 if THREAD_SIZE > (1 << PAGE_SHIFT) else 0) + (1 if STACK_GUARD else 0)
"""Order of the pages of a kernel stack, and of what is below it to be unmapped."""

last_pid: i32 = 0
nr_threads: i32 = 0
"""Tasks in the list of all; idle ones are not."""
task_struct_cachep: ptr[KmemCache] = NULL
signal_cachep: ptr[KmemCache] = NULL
max_threads: i32 = 0
"""How many there may be, so that their stacks take an eighth of memory at most."""


@guest
def fork_init(mempages: u32) -> None:
    """Find out how many tasks there may be, and make the caches they come from."""
    global max_threads, task_struct_cachep, signal_cachep
    task_struct_cachep = kmem_cache_create("task_struct", sizeof(TaskStruct))
    signal_cachep = kmem_cache_create("signal_cache", sizeof(SignalStruct))
    max_threads = i32(max(mempages // (8 << THREAD_ORDER), 20))


@extern
def do_exit(code: i32) -> NoReturn:
    """End this task; exit.py."""
    ...


@guest
def copy_signal(task: ptr[TaskStruct]) -> bool:
    """What a process has of its own about signals; False without memory."""
    signal = cast(ptr[SignalStruct], kmem_cache_zalloc(signal_cachep))
    if signal == NULL:
        return False
    signal.count = 1
    signal.tsk = task
    init_waitqueue(signal.wait_chldexit)
    init_list_head(signal.thread_head)
    list_add_tail(task.thread_node, signal.thread_head)
    init_sigpending(signal.shared_pending)
    init_sigpending(task.pending)
    task.signal = signal
    task.sighand = init_sighand
    fetch_add(addr(init_sighand.count), 1)
    init_itimers(task)
    return True


@guest
def alloc_thread_info() -> ptr[ThreadInfo]:
    """A kernel stack, by its low end; NULL without memory."""
    pages = cast(ptr[u8], __get_free_pages(THREAD_ORDER))
    if not STACK_GUARD or pages == NULL:
        return cast(ptr[ThreadInfo], pages)
    info = cast(ptr[ThreadInfo], pages + THREAD_SIZE)
    guard_stack(info)
    return info


@guest
def free_thread_info(info: ptr[ThreadInfo]) -> None:
    """Give a kernel stack back."""
    if STACK_GUARD:
        unguard_stack(info)
        free_pages(cast(ptr[u8], info) - THREAD_SIZE, THREAD_ORDER)
    else:
        free_pages(info, THREAD_ORDER)


@guest
def dup_task_struct(name: cstr) -> ptr[TaskStruct]:
    """A task with a stack and nothing to do yet; NULL without memory, or with too many tasks."""
    if nr_threads >= max_threads:
        return NULL
    task = cast(ptr[TaskStruct], kmem_cache_zalloc(task_struct_cachep))
    if task == NULL:
        return NULL
    info = alloc_thread_info()
    if info == NULL:
        kfree(task)
        return NULL
    info.task = task
    info.flags = 0
    info.cpu = smp_processor_id()
    info.preempt_count = 1
    info.previous_esp = 0
    set_stack_end_magic(info)
    task.thread_info = info
    task.flags = PF_KTHREAD
    task.prio = DEFAULT_PRIO
    task.static_prio = DEFAULT_PRIO
    task.cpus_allowed = CPU_MASK_ALL
    task.parent = current()
    if not copy_signal(task):
        free_thread_info(info)
        kfree(task)
        return NULL
    task.fs = init_fs
    fetch_add(addr(init_fs.count), 1)
    task.files = init_files
    fetch_add(addr(init_files.count), 1)
    strlcpy(task.comm, name, TASK_COMM_LEN)
    return task


@guest
def link_task(task: ptr[TaskStruct]) -> None:
    """Give a new task its number and its place among all tasks."""
    global nr_threads
    task.pid = fetch_add(addr(last_pid), 1) + 1
    task.tgid = task.pid
    task.state = TASK_UNINTERRUPTIBLE
    flags = spin_lock_irqsave(tasklist_lock)
    list_add_tail(task.tasks, init_task.tasks)
    attach_pid(task, PIDTYPE_PID, task.pid)
    nr_threads += 1
    spin_unlock_irqrestore(tasklist_lock, flags)


@guest
def unhash_process(task: ptr[TaskStruct]) -> None:
    """Nobody finds this task any more.  tasklist_lock is held."""
    global nr_threads
    nr_threads -= 1
    detach_pid(task, PIDTYPE_PID)
    list_del(task.thread_node)
    list_del(task.tasks)


@guest
def create_thread(function: fn[[ptr[void]], i32], arg: ptr[void], name: cstr) -> ptr[TaskStruct]:
    """A kernel thread that does not run yet: wake_up_new_task() starts it (copy_process)."""
    task = dup_task_struct(name)
    if task == NULL:
        return NULL
    kernel_thread_setup(task, function, arg)
    link_task(task)
    return task


@guest
def kernel_thread(function: fn[[ptr[void]], i32], arg: ptr[void], name: cstr) -> ptr[TaskStruct]:
    """Start a kernel thread; NULL without memory."""
    task = create_thread(function, arg, name)
    if task != NULL:
        wake_up_new_task(task)
    return task


@guest
def kernel_thread_on_cpu(function: fn[[ptr[void]], i32], arg: ptr[void], name: cstr, cpu: u32) -> ptr[TaskStruct]:
    """Start a kernel thread that stays on one CPU (kthread_bind)."""
    task = create_thread(function, arg, name)
    if task != NULL:
        set_cpus_allowed(task, 1 << cpu)
        wake_up_new_task(task)
    return task


@guest
def kernel_thread_start(function: fn[[ptr[void]], i32], arg: ptr[void]) -> NoReturn:
    """Where a new thread's first stack frame enters: ends the switch to it, then runs its function."""
    finish_task_switch()
    do_exit(function(arg))


@guest
def fork_idle(cpu: u32) -> ptr[TaskStruct]:
    """The idle task of a CPU that is about to be started."""
    task = dup_task_struct("swapper")
    if task == NULL:
        panic("failed fork for CPU %u", cpu)
    init_idle(task, cpu)
    return task
