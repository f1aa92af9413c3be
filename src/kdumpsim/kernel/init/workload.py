# SPDX-License-Identifier: GPL-2.0-or-later
"""Workloads: threads that keep the kernel busy, started by name.

A module adds one by `placed("workloads", Workload(name="mine", main=mine))`; `main` gets its argument string.
/proc/workloads lists them.  An argument that begins with ``cpus=MASK`` (hexadecimal) binds the thread to these CPUs, as
taskset(1) does, and is not passed on; without one the thread may run where its maker may.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    addr,
    array,
    cast,
    cstr,
    external,
    fn,
    guest,
    i32,
    placed,
    ptr,
    u8,
    u32,
    void,
)
from kdumpsim.kernel.asm import cpu_online, current
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.kthread import create_thread
from kdumpsim.kernel.core.sched import set_cpus_allowed, wake_up_new_task
from kdumpsim.kernel.core.sched_types import TaskStruct
from kdumpsim.kernel.core.string import simple_strtoul, strcmp, strlcpy, strncmp
from kdumpsim.kernel.core.types import EAGAIN, EINVAL, ENOENT, ENOMEM
from kdumpsim.kernel.fs.proc import register_proc
from kdumpsim.kernel.fs.seq_file import SeqFile, seq_printf
from kdumpsim.kernel.mm.slab import kfree, kmalloc

MAX_ARGUMENT: Final = 128


class Workload(Struct):
    """A thread function and the name it is started by."""

    name: cstr
    main: fn[[ptr[void]], i32]


__start_workloads: array[Workload] = external()
__stop_workloads: array[Workload] = external()


@guest
def parse_cpus(argument: cstr, rest: ptr[cstr]) -> u32:
    """The CPUs that an argument asks for, and what stands behind them; 0 if none of them is there."""
    rest[0] = argument
    if strncmp(argument, "cpus=", 5) != 0:
        return current().cpus_allowed
    asked: u32 = simple_strtoul(argument + 5, rest, 16)
    while rest[0][0] == ord(" "):
        rest[0] = rest[0] + 1
    mask: u32 = 0
    for cpu in range(NR_CPUS):
        if asked >> cpu & 1 and cpu_online(cpu):
            mask |= u32(1) << cpu
    return mask


@guest
def start_workload(name: cstr, argument: cstr) -> i32:
    """Start a thread; its pid or a negative errno.  The argument is copied."""
    rest: cstr = argument
    mask: u32 = parse_cpus(argument, addr(rest))
    workload: ptr[Workload] = __start_workloads
    while workload < __stop_workloads:
        if strcmp(workload.name, name) == 0:
            if mask == 0:
                return -EINVAL
            copy: ptr[u8] = cast(ptr[u8], kmalloc(MAX_ARGUMENT))
            if copy == NULL:
                return -ENOMEM
            strlcpy(copy, rest, MAX_ARGUMENT)
            task: ptr[TaskStruct] = create_thread(workload.main, cast(ptr[void], copy), workload.name)
            if task == NULL:
                kfree(copy)
                return -EAGAIN
            pid: i32 = task.pid
            set_cpus_allowed(task, mask)
            wake_up_new_task(task)
            return pid
        workload += 1
    return -ENOENT


@guest
def workloads_show(m: ptr[SeqFile]) -> i32:
    """/proc/workloads: the names, one a line."""
    workload: ptr[Workload] = __start_workloads
    while workload < __stop_workloads:
        seq_printf(m, "%s\n", workload.name)
        workload += 1
    return 0


@guest
def workloads_init() -> i32:
    """Make the file."""
    return register_proc("/proc/workloads", workloads_show, NULL)


_init_workloads: fn[[], i32] = placed("initcall5", workloads_init)
