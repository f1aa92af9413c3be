# SPDX-License-Identifier: GPL-2.0-or-later
"""Wait queues and completions (kernel/wait.c, __wake_up() and completions of kernel/sched.c).

Waiting is a loop: prepare_to_wait(), look at the condition, schedule(); finish_wait() after it.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, Struct, cast, guest, ptr, u32
from kdumpsim.kernel.architecture import current
from kdumpsim.kernel.core.list import list_add_tail, list_del
from kdumpsim.kernel.core.sched import set_current_state, wake_up_process
from kdumpsim.kernel.core.sched_types import TASK_RUNNING, TASK_UNINTERRUPTIBLE, TaskState, TaskStruct
from kdumpsim.kernel.core.spinlock import spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.timer import MAX_SCHEDULE_TIMEOUT, schedule_timeout
from kdumpsim.kernel.core.types import ListHead
from kdumpsim.kernel.core.wait_types import WaitQueue as WaitQueue
from kdumpsim.kernel.core.waitqueue import init_waitqueue as init_waitqueue


class WaitEntry(Struct):
    """One task in a wait queue; zeroed when not in any."""

    entry: ListHead
    task: ptr[TaskStruct]


class Completion(Struct):
    """An event that happens `done` times and is waited for as often."""

    done: u32
    wait: WaitQueue


@guest
def prepare_to_wait(queue: ptr[WaitQueue], wait: ptr[WaitEntry], state: TaskState) -> None:
    """Enter a queue, if not in it, and set this task's state: from here on a wake-up is not missed."""
    flags = spin_lock_irqsave(queue.lock)
    wait.task = current()
    if wait.entry.next == NULL:
        list_add_tail(wait.entry, queue.task_list)
    set_current_state(state)
    spin_unlock_irqrestore(queue.lock, flags)


@guest
def finish_wait(queue: ptr[WaitQueue], wait: ptr[WaitEntry]) -> None:
    """Leave a queue; a waker may have taken us off already."""
    set_current_state(TASK_RUNNING)
    flags = spin_lock_irqsave(queue.lock)
    remove_wait_entry(wait)
    spin_unlock_irqrestore(queue.lock, flags)


@guest
def remove_wait_entry(wait: ptr[WaitEntry]) -> None:
    """Take an entry off its queue, if it is in one; the queue's lock is held."""
    if wait.entry.next != NULL:
        list_del(wait.entry)
        wait.entry.next = NULL


@guest
def wake_up_locked(queue: ptr[WaitQueue]) -> None:
    """Wake everybody in a queue whose lock is held."""
    head: ptr[ListHead] = queue.task_list
    while head.next != head:
        wait = cast(ptr[WaitEntry], head.next)
        remove_wait_entry(wait)
        wake_up_process(wait.task)


@guest
def wake_up(queue: ptr[WaitQueue]) -> None:
    """Wake everybody in a queue."""
    flags = spin_lock_irqsave(queue.lock)
    wake_up_locked(queue)
    spin_unlock_irqrestore(queue.lock, flags)


@guest
def init_completion(x: ptr[Completion]) -> None:
    """Make an event that has not happened."""
    x.done = 0
    init_waitqueue(x.wait)


@guest
def complete(x: ptr[Completion]) -> None:
    """The event has happened."""
    flags = spin_lock_irqsave(x.wait.lock)
    x.done += 1
    wake_up_locked(x.wait)
    spin_unlock_irqrestore(x.wait.lock, flags)


@guest
def wait_for_completion_timeout(x: ptr[Completion], timeout: u32) -> u32:
    """Wait for the event for so many ticks; 0 if it did not happen, else the ticks left, at least 1."""
    wait: WaitEntry = WaitEntry()
    left = timeout
    while True:
        prepare_to_wait(x.wait, wait, TASK_UNINTERRUPTIBLE)
        flags = spin_lock_irqsave(x.wait.lock)
        happened = x.done > 0
        if happened:
            x.done -= 1
        spin_unlock_irqrestore(x.wait.lock, flags)
        if happened or left == 0:
            break
        left = schedule_timeout(left)
    finish_wait(x.wait, wait)
    return max(left, 1) if happened else 0


@guest
def wait_for_completion(x: ptr[Completion]) -> None:
    """Wait for the event as long as it takes."""
    wait_for_completion_timeout(x, MAX_SCHEDULE_TIMEOUT)
