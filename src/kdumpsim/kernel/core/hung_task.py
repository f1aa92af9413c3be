# SPDX-License-Identifier: GPL-2.0-or-later
"""The hung-task watchdog: finds tasks that sleep for ever (khungtaskd, kernel/hung_task.c of 2.6.30).

A task that loops in the kernel and can be preempted is seen by no other watchdog, nor is one that died of an oops; but
what it held it does not give back.  Who waits for that sleeps uninterruptibly, and is not switched to any more.

khungtaskd looks once a second, and calls a task hung after the time that the soft-lockup watchdog waits: 10 s by
default, where 2.6.30 waits 120.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, cstr, fn, guest, i32, list_for_each_entry, placed, ptr, void
from kdumpsim.kernel.architecture import current
from kdumpsim.kernel.core.config import FAULT_CHECKS, HZ
from kdumpsim.kernel.core.init_task import init_task
from kdumpsim.kernel.core.kthread import kernel_thread
from kdumpsim.kernel.core.panic import panic
from kdumpsim.kernel.core.params import ObsKernelParam
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.sched_types import TASK_INTERRUPTIBLE, TASK_UNINTERRUPTIBLE, TaskStruct
from kdumpsim.kernel.core.signal import tasklist_lock
from kdumpsim.kernel.core.softlockup import watchdog_thresh
from kdumpsim.kernel.core.spinlock import spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.string import strcmp
from kdumpsim.kernel.core.timer import jiffies, schedule_timeout, time_after_eq
from kdumpsim.kernel.core.types import ENOMEM

hung_task_on: bool = False
hung_task_panic: bool = False
"""Whether a hung task is the end (hung_task=panic)."""


@guest
def is_hung(task: ptr[TaskStruct]) -> bool:
    """Whether a task has slept uninterruptibly all the time; says so once for each time."""
    switches = task.nvcsw + task.nivcsw
    if task.state != TASK_UNINTERRUPTIBLE or switches != task.last_switch_count:
        task.last_switch_count = switches
        task.last_switch_time = jiffies
        return False
    if switches == 0 or not time_after_eq(jiffies, task.last_switch_time + 2 * watchdog_thresh * HZ):
        return False  # it has not begun, or not slept long enough
    task.last_switch_time = jiffies
    return True


@guest
def report_hung_task(task: ptr[TaskStruct]) -> None:
    """Say which task it is, and panic if asked to; with FAULT_CHECKS the other way round."""
    if FAULT_CHECKS and hung_task_panic:
        panic("hung_task: blocked tasks")
    printk(f"<3>INFO: task {task.comm:s}:{task.pid} blocked for more than {2 * watchdog_thresh} seconds.\n")
    if hung_task_panic:
        panic("hung_task: blocked tasks")


@guest
def check_hung_uninterruptible_tasks() -> None:
    """Look at all tasks; one at most is reported."""
    hung: ptr[TaskStruct] = NULL
    flags = spin_lock_irqsave(tasklist_lock)
    for task in list_for_each_entry(init_task.tasks, TaskStruct, "tasks"):
        if is_hung(task):
            hung = task
    spin_unlock_irqrestore(tasklist_lock, flags)
    if hung != NULL:
        report_hung_task(hung)


@guest
def khungtaskd(arg: ptr[void]) -> i32:
    """The thread."""
    while True:
        current().state = TASK_INTERRUPTIBLE
        schedule_timeout(HZ)
        check_hung_uninterruptible_tasks()
    return 0


@guest
def hung_task_init() -> i32:
    """Start it, if asked to."""
    if hung_task_on and kernel_thread(khungtaskd, NULL, "khungtaskd") == NULL:
        return -ENOMEM
    return 0


@guest
def setup_hung_task(value: cstr) -> i32:
    """hung_task=off|warn|panic"""
    global hung_task_on, hung_task_panic
    hung_task_on = strcmp(value, "off") != 0
    hung_task_panic = strcmp(value, "panic") == 0
    return 0


_param_hung_task: ObsKernelParam = placed("setup_params", ObsKernelParam(str="hung_task=", setup_func=setup_hung_task))
_init_hung_task: fn[[], i32] = placed("initcall4", hung_task_init)
