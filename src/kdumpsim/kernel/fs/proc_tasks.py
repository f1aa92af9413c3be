# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/ps and /proc/kmsg: the tasks and the kernel's log as text, for people who look at a running machine.

Linux has a directory for each task; here one file lists them all.  Unlike Linux's, /proc/kmsg neither waits for
messages nor uses them up: it is what dmesg gets from syslog(2), with the level in front of each line.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, fn, guest, i32, list_for_each_entry, placed, ptr, u8, u32, usize
from kdumpsim.kernel.core.config import LOG_BUF_LEN
from kdumpsim.kernel.core.init_task import init_task
from kdumpsim.kernel.core.kthread import tasklist_lock
from kdumpsim.kernel.core.printk import LOG_BUF_MASK, log_buf, log_end, log_start, logbuf_lock
from kdumpsim.kernel.core.sched import task_cpu
from kdumpsim.kernel.core.sched_types import TaskStruct
from kdumpsim.kernel.core.spinlock import spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.string import memcpy
from kdumpsim.kernel.core.sysrq import state_letter
from kdumpsim.kernel.fs.file_types import SeqFile
from kdumpsim.kernel.fs.proc import register_proc
from kdumpsim.kernel.fs.seq_file import seq_printf


@guest
def ps_show(m: ptr[SeqFile]) -> i32:
    """/proc/ps: pid, CPU, state, voluntary context switches and name of every task; idle tasks are not in the list."""
    seq_printf(m, "PID  CPU STAT SWITCHES COMMAND\n")
    flags = spin_lock_irqsave(tasklist_lock)
    for task in list_for_each_entry(init_task.tasks, TaskStruct, "tasks"):
        state: u8 = state_letter(task)
        seq_printf(m, f"{task.pid:<5}{task_cpu(task):<4}{state:c}    {task.nvcsw:<9}{task.comm:s}\n")
    spin_unlock_irqrestore(tasklist_lock, flags)
    return 0


@guest
def kmsg_copy(m: ptr[SeqFile]) -> None:
    """Copy the log into the text, in two pieces if it goes around the ring's end.  logbuf_lock held."""
    at: u32 = log_start & LOG_BUF_MASK
    m.count = log_end - log_start
    first: usize = min(m.count, LOG_BUF_LEN - at)
    memcpy(m.buf, log_buf + at, first)
    memcpy(m.buf + first, log_buf, m.count - first)


@guest
def kmsg_show(m: ptr[SeqFile]) -> i32:
    """/proc/kmsg: what the log holds just now."""
    if m.size <= LOG_BUF_LEN:
        m.count = m.size
        return 0
    flags = spin_lock_irqsave(logbuf_lock)
    kmsg_copy(m)
    spin_unlock_irqrestore(logbuf_lock, flags)
    return 0


@guest
def proc_tasks_init() -> i32:
    """Make the files."""
    register_proc("/proc/ps", ps_show, NULL)
    register_proc("/proc/kmsg", kmsg_show, NULL)
    return 0


_init_proc_tasks: fn[[], i32] = placed("initcall5", proc_tasks_init)
