# SPDX-License-Identifier: GPL-2.0-or-later
"""The task structure (include/linux/sched.h).

A task's kernel stack and its thread_info share THREAD_SIZE bytes; `thread_info` points at the low end of them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import Struct, array, i32, length, ptr, u8, u32, u64
from kdumpsim.kernel.core.config import TASK_COMM_LEN
from kdumpsim.kernel.core.hrtimer_types import Hrtimer
from kdumpsim.kernel.core.pid_types import PIDTYPE_MAX, Pid
from kdumpsim.kernel.core.signal_types import NSIG, KSigaction, Sigpending, Sigset
from kdumpsim.kernel.core.timer_types import TimerList
from kdumpsim.kernel.core.types import BITS_PER_LONG, ListHead, RcuHead
from kdumpsim.kernel.core.wait_types import WaitQueue

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import ThreadInfo, ThreadStruct
    from kdumpsim.kernel.fs.file_types import FilesStruct, FsStruct
    from kdumpsim.kernel.mm.mm_types import MmStruct

MAX_RT_PRIO: Final = 100
"""Priorities below are real-time tasks'; the most urgent is 0."""

MAX_PRIO: Final = MAX_RT_PRIO + 40
"""Number of priorities; 0 is served first."""

DEFAULT_PRIO: Final = MAX_RT_PRIO + 20
"""Priority of ordinary tasks: nice 0."""

LOW_PRIO: Final = MAX_PRIO - 1
"""Priority of threads that should stand back, as nice 19: ksoftirqd."""

BITMAP_SIZE: Final = (MAX_PRIO + BITS_PER_LONG - 1) // BITS_PER_LONG

CPU_MASK_ALL: Final = 0xFF
"""cpus_allowed of a task that may run anywhere (NR_CPUS bits)."""

PF_EXITING: Final = 0x4
PF_KTHREAD: Final = 0x8
PF_SIGNALED: Final = 0x400


class TaskState(IntEnum):
    """What a task waits for; the values are Linux's."""

    TASK_RUNNING = 0
    TASK_INTERRUPTIBLE = 1
    TASK_UNINTERRUPTIBLE = 2
    EXIT_ZOMBIE = 16
    EXIT_DEAD = 32


TASK_RUNNING: Final = TaskState.TASK_RUNNING
TASK_INTERRUPTIBLE: Final = TaskState.TASK_INTERRUPTIBLE
TASK_UNINTERRUPTIBLE: Final = TaskState.TASK_UNINTERRUPTIBLE
EXIT_ZOMBIE: Final = TaskState.EXIT_ZOMBIE
EXIT_DEAD: Final = TaskState.EXIT_DEAD


class PrioArray(Struct):
    """Runnable tasks by priority."""

    nr_active: u32
    """Tasks in the lists."""
    bitmap: array[u32] = length(BITMAP_SIZE)
    """A bit for each list that is not empty."""
    queue: array[ListHead] = length(MAX_PRIO)


class SighandStruct(Struct):
    """What a process does about each signal."""

    count: u32
    action: array[KSigaction] = length(NSIG)


class SignalStruct(Struct):
    """What belongs to a process, not to one of its threads."""

    count: u32
    wait_chldexit: WaitQueue
    """Here it waits for its children to end."""
    shared_pending: Sigpending
    """What kill() sent."""
    group_exit_code: i32
    """As waitpid() tells it: the code of exit() times 256, or the signal that killed it."""
    real_timer: Hrtimer
    """What alarm() sets."""
    it_real_timer: TimerList
    """What it sets without hrtimers."""
    tsk: ptr[TaskStruct]
    """Whom it is for."""
    thread_head: ListHead
    """The threads of the process, one here; Linux has them on a list of their own since 3.14."""


class TaskStruct(Struct):
    """A kernel thread or a process."""

    state: TaskState
    thread_info: ptr[ThreadInfo]
    flags: u32
    prio: u32
    """What the scheduler goes by: static_prio, or one less urgent for a task that used its time slice up."""
    static_prio: u32
    time_slice: u32
    run_list: ListHead
    """Link in a list of `prio_array`."""
    prio_array: ptr[PrioArray]
    """The half of its run queue that it waits or runs in, NULL while it sleeps (Linux's task_struct.array)."""
    on_cpu: bool
    """Whether a CPU runs on this task's stack just now."""
    cpus_allowed: u32
    tasks: ListHead
    """Link in the list of all tasks, which starts at init_task."""
    mm: ptr[MmStruct]
    """User address space; kernel threads have none."""
    files: ptr[FilesStruct]
    """Open files; kernel threads share a table."""
    fs: ptr[FsStruct]
    """Where its paths begin."""
    signal: ptr[SignalStruct]
    sighand: ptr[SighandStruct]
    blocked: Sigset
    """Signals that are held back: none."""
    pending: Sigpending
    """Signals for this task itself: what it did wrong."""
    pid: i32
    tgid: i32
    """Number of the process: its pid, since no process has a second thread."""
    thread_node: ListHead
    """Link in the list of the process's threads."""
    pids: array[Pid] = length(PIDTYPE_MAX)
    """Links in the hash tables of numbers."""
    parent: ptr[TaskStruct]
    comm: array[u8] = length(TASK_COMM_LEN)
    nvcsw: u32
    """Voluntary context switches."""
    nivcsw: u32
    """Involuntary ones."""
    utime: u32
    stime: u32
    rcu: RcuHead
    """For the wait until nobody can be looking at a dead task."""
    last_ran: u64
    """sched_clock() when it last got a CPU."""
    last_switch_count: u32
    last_switch_time: u32
    """For khungtaskd: how often it had run, and since when that is so, in jiffies."""
    thread: ThreadStruct
    """What the architecture keeps of a task that does not run."""
