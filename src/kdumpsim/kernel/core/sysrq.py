# SPDX-License-Identifier: GPL-2.0-or-later
"""Alt-SysRq and /proc/sysrq-trigger (drivers/char/sysrq.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpsim.compiler.lang import NULL, Struct, array, cstr, fn, guest, i32, list_for_each_entry, placed, ptr, u8, u32
from kdumpsim.kernel.architecture import current, machine_restart
from kdumpsim.kernel.core.dump import CrashPlace, try_crashdump
from kdumpsim.kernel.core.init_task import init_task
from kdumpsim.kernel.core.params import ObsKernelParam
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.sched import task_cpu
from kdumpsim.kernel.core.sched_types import TaskState, TaskStruct
from kdumpsim.kernel.core.string import simple_strtoul
from kdumpsim.kernel.mm.page_alloc import show_mem

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs


sysrq_enabled: u32 = 1
"""Whether the keyboard's SysRq key works (sysrq=); /proc/sysrq-trigger always does."""


class SysrqKeyOp(Struct):
    """What a key does."""

    key: u8
    handler: fn[[ptr[PtRegs]], None]
    help_msg: cstr
    action_msg: cstr


@guest
def sysrq_handle_reboot(regs: ptr[PtRegs]) -> None:
    """b: restart at once."""
    machine_restart()


@guest
def sysrq_handle_crashdump(regs: ptr[PtRegs]) -> None:
    """c: have a dump taken; where nothing is armed for it, nothing happens."""
    try_crashdump(CrashPlace.SYSRQ, regs)


@guest
def sysrq_handle_showmem(regs: ptr[PtRegs]) -> None:
    """m: free and used memory."""
    show_mem()


@guest
def state_letter(task: ptr[TaskStruct]) -> u8:
    """The state in one letter, as ps shows it."""
    if task.state == TaskState.TASK_RUNNING:
        return ord("R")
    if task.state == TaskState.TASK_INTERRUPTIBLE:
        return ord("S")
    if task.state == TaskState.TASK_UNINTERRUPTIBLE:
        return ord("D")
    return ord("Z")


@guest
def show_task(task: ptr[TaskStruct]) -> None:
    """One line on a task."""
    mark: cstr = " <-" if task == current() else ""
    printk(
        "%-16s %c cpu%u pid %d prio %u switches %u+%u%s\n",
        task.comm,
        state_letter(task),
        task_cpu(task),
        task.pid,
        task.prio,
        task.nvcsw,
        task.nivcsw,
        mark,
    )


@guest
def sysrq_handle_showstate(regs: ptr[PtRegs]) -> None:
    """t: all tasks; without the list's lock, which whoever is stuck may hold."""
    for task in list_for_each_entry(init_task.tasks, TaskStruct, "tasks"):
        show_task(task)


NR_SYSRQ_KEYS = 4

sysrq_key_table: array[SysrqKeyOp] = [
    SysrqKeyOp(key=ord("b"), handler=sysrq_handle_reboot, help_msg="reBoot", action_msg="Resetting"),
    SysrqKeyOp(key=ord("c"), handler=sysrq_handle_crashdump, help_msg="Crashdump", action_msg="Trigger a crashdump"),
    SysrqKeyOp(key=ord("m"), handler=sysrq_handle_showmem, help_msg="showMem", action_msg="Show Memory"),
    SysrqKeyOp(key=ord("t"), handler=sysrq_handle_showstate, help_msg="showTasks", action_msg="Show State"),
]


@guest
def handle_sysrq(key: u8, regs: ptr[PtRegs]) -> None:
    """A SysRq key was pressed, or written to /proc/sysrq-trigger; `regs` of the interrupt, or NULL."""
    printk("<6>SysRq : ")
    for i in range(NR_SYSRQ_KEYS):
        op: ptr[SysrqKeyOp] = sysrq_key_table[i]
        if op.key == key:
            printk("%s\n", op.action_msg)
            op.handler(regs)
            return
    printk("HELP : ")
    for i in range(NR_SYSRQ_KEYS):
        printk("%s ", sysrq_key_table[i].help_msg)
    printk("\n")


@guest
def setup_sysrq(value: cstr) -> i32:
    """sysrq=0|1, named like the sysctl"""
    global sysrq_enabled
    sysrq_enabled = simple_strtoul(value, NULL, 10)
    return 0


_param_sysrq: ObsKernelParam = placed("setup_params", ObsKernelParam(str="sysrq=", setup_func=setup_sysrq))
