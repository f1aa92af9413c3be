# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/ps, /proc/maps and /proc/kmsg: tasks, their memory and the log as text, for people at a running machine.

Linux has a directory for each task; here one file lists them all.  Unlike Linux's, /proc/kmsg neither waits for
messages nor uses them up: it is what dmesg gets from syslog(2), with the level in front of each line.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    array,
    cstr,
    fn,
    guest,
    i32,
    length,
    list_for_each_entry,
    placed,
    ptr,
    u8,
    u32,
    usize,
)
from kdumpsim.kernel.architecture import PAGE_SHIFT
from kdumpsim.kernel.core.init_task import init_mm, init_task
from kdumpsim.kernel.core.kthread import tasklist_lock
from kdumpsim.kernel.core.printk import log_buf, log_buf_len, log_end, logbuf_lock, logged_chars
from kdumpsim.kernel.core.sched import task_cpu
from kdumpsim.kernel.core.sched_types import TaskStruct
from kdumpsim.kernel.core.spinlock import spin_lock, spin_lock_irqsave, spin_unlock, spin_unlock_irqrestore
from kdumpsim.kernel.core.string import memcpy
from kdumpsim.kernel.core.sysrq import state_letter
from kdumpsim.kernel.fs.dcache import d_path
from kdumpsim.kernel.fs.file_types import SeqFile
from kdumpsim.kernel.fs.proc import register_proc
from kdumpsim.kernel.fs.seq_file import seq_printf
from kdumpsim.kernel.mm.mm_types import VM_EXEC, VM_READ, VM_WRITE, MmStruct, VmAreaStruct
from kdumpsim.kernel.mm.vma import mmlist_lock

MAX_PATH: Final = 128


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
def map_line(m: ptr[SeqFile], mm: ptr[MmStruct], vma: ptr[VmAreaStruct]) -> None:
    """A region: program, addresses, rights, offset in the file, the file."""
    path: array[u8] = length(MAX_PATH, zeroed=False)
    read: cstr = "r" if vma.vm_flags & VM_READ else "-"
    write: cstr = "w" if vma.vm_flags & VM_WRITE else "-"
    execute: cstr = "x" if vma.vm_flags & VM_EXEC else "-"
    seq_printf(m, f"{mm.comm:s} {vma.vm_start:08x}-{vma.vm_end:08x} {read:s}{write:s}{execute:s}p ")
    name: cstr = ""
    if vma.vm_file != NULL:
        name = d_path(vma.vm_file.f_dentry, path, MAX_PATH)
    seq_printf(m, f"{vma.vm_pgoff << PAGE_SHIFT:08x} {name:s}\n")


@guest
def maps_show(m: ptr[SeqFile]) -> i32:
    """/proc/maps: the regions of all processes."""
    spin_lock(mmlist_lock)
    for mm in list_for_each_entry(init_mm.mmlist, MmStruct, "mmlist"):
        vma: ptr[VmAreaStruct] = mm.mmap
        while vma != NULL:
            map_line(m, mm, vma)
            vma = vma.vm_next
    spin_unlock(mmlist_lock)
    return 0


@guest
def kmsg_copy(m: ptr[SeqFile]) -> None:
    """Copy the log into the text, in two pieces if it goes around the ring's end.  logbuf_lock held."""
    at: u32 = (log_end - logged_chars) & (log_buf_len - 1)
    m.count = logged_chars
    first: usize = min(m.count, log_buf_len - at)
    memcpy(m.buf, log_buf + at, first)
    memcpy(m.buf + first, log_buf, m.count - first)


@guest
def kmsg_show(m: ptr[SeqFile]) -> i32:
    """/proc/kmsg: what the log holds just now."""
    if m.size <= log_buf_len:
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
    register_proc("/proc/maps", maps_show, NULL)
    register_proc("/proc/kmsg", kmsg_show, NULL)
    return 0


_init_proc_tasks: fn[[], i32] = placed("initcall5", proc_tasks_init)
