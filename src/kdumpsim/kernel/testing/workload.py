# SPDX-License-Identifier: GPL-2.0-or-later
"""Workloads: threads that keep the kernel busy, started by name.

A module adds one by `placed("workloads", Workload(name="mine", main=mine))`; `main` gets its argument string.
/proc/workloads lists them.  The thread may run where its maker may.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, cast, cstr, fn, guest, i32, placed, ptr, section, u8, void
from kdumpsim.kernel.architecture import current
from kdumpsim.kernel.core.kthread import create_thread
from kdumpsim.kernel.core.sched import set_cpus_allowed, wake_up_new_task
from kdumpsim.kernel.core.sched_types import TaskStruct
from kdumpsim.kernel.core.string import strcmp, strlcpy
from kdumpsim.kernel.core.types import EAGAIN, ENOENT, ENOMEM
from kdumpsim.kernel.fs.file_types import SeqFile
from kdumpsim.kernel.fs.proc import register_proc
from kdumpsim.kernel.fs.seq_file import seq_printf
from kdumpsim.kernel.mm.slab import kfree, kmalloc

MAX_ARGUMENT: Final = 128


class Workload(Struct):
    """A thread function and the name it is started by."""

    name: cstr
    main: fn[[ptr[void]], i32]


@guest
def start_workload(name: cstr, argument: cstr) -> i32:
    """Start a thread; its pid or a negative errno.  The argument is copied."""
    for workload in section("workloads", Workload):
        if strcmp(workload.name, name) == 0:
            copy = cast(ptr[u8], kmalloc(MAX_ARGUMENT))
            if copy == NULL:
                return -ENOMEM
            strlcpy(copy, argument, MAX_ARGUMENT)
            task: ptr[TaskStruct] = create_thread(workload.main, copy, workload.name)
            if task == NULL:
                kfree(copy)
                return -EAGAIN
            pid: i32 = task.pid
            set_cpus_allowed(task, current().cpus_allowed)
            wake_up_new_task(task)
            return pid
    return -ENOENT


@guest
def workloads_show(m: ptr[SeqFile]) -> i32:
    """/proc/workloads: the names, one a line."""
    for workload in section("workloads", Workload):
        seq_printf(m, "%s\n", workload.name)
    return 0


@guest
def workloads_init() -> i32:
    """Make the file."""
    return register_proc("/proc/workloads", workloads_show, NULL)


_init_workloads: fn[[], i32] = placed("initcall5", workloads_init)
