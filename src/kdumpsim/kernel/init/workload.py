# SPDX-License-Identifier: GPL-2.0-or-later
"""Workloads: threads that keep the kernel busy, started by name.

A module adds one by `placed("workloads", Workload(name="mine", main=mine))`; `main` gets its argument string.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, array, cast, cstr, external, fn, guest, i32, ptr, u8, void
from kdumpsim.kernel.core.kthread import kernel_thread
from kdumpsim.kernel.core.sched_types import TaskStruct
from kdumpsim.kernel.core.string import strcmp, strlcpy
from kdumpsim.kernel.core.types import EAGAIN, ENOENT, ENOMEM
from kdumpsim.kernel.mm.slab import kmalloc

MAX_ARGUMENT: Final = 128


class Workload(Struct):
    """A thread function and the name it is started by."""

    name: cstr
    main: fn[[ptr[void]], i32]


__start_workloads: array[Workload] = external()
__stop_workloads: array[Workload] = external()


@guest
def start_workload(name: cstr, argument: cstr) -> i32:
    """Start a thread; its pid or a negative errno.  The argument is copied."""
    workload: ptr[Workload] = __start_workloads
    while workload < __stop_workloads:
        if strcmp(workload.name, name) == 0:
            copy: ptr[u8] = cast(ptr[u8], kmalloc(MAX_ARGUMENT))
            if copy == NULL:
                return -ENOMEM
            strlcpy(copy, argument, MAX_ARGUMENT)
            task: ptr[TaskStruct] = kernel_thread(workload.main, cast(ptr[void], copy), workload.name)
            return -EAGAIN if task == NULL else task.pid
        workload += 1
    return -ENOENT
