# SPDX-License-Identifier: GPL-2.0-or-later
"""Tasks by their numbers (kernel/pid.c of 2.6.16): a hash table for each kind of number.  tasklist_lock guards them."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, array, cast, container_of, guest, i32, length, ptr, sizeof, u32
from kdumpsim.kernel.architecture import PAGE_SHIFT, PAGE_SIZE
from kdumpsim.kernel.core.list import hlist_add_head, hlist_del
from kdumpsim.kernel.core.pid_types import PIDTYPE_MAX, PIDTYPE_PID, Pid
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.sched_types import TaskStruct
from kdumpsim.kernel.core.types import HlistHead, HlistNode
from kdumpsim.kernel.mm.bootmem import alloc_bootmem, bootmem_pages

GOLDEN_RATIO_PRIME: Final = 0x9E37_0001
"""Knuth's multiplier, "nearest prime to the golden ratio of 2**32" (include/linux/hash.h)."""
MIN_SHIFT: Final = 4
MAX_SHIFT: Final = 12

pid_hash: array[ptr[HlistHead]] = length(PIDTYPE_MAX)
pidhash_shift: u32 = 0
"""Each table has 1 << pidhash_shift slots."""


@guest
def pidhash_init() -> None:
    """Make the tables, with four slots for each MiB of memory, before the boot allocator goes."""
    global pidhash_shift
    pidhash_shift = MIN_SHIFT
    while pidhash_shift < MAX_SHIFT and (u32(1) << pidhash_shift) < bootmem_pages >> (20 - PAGE_SHIFT) << 2:
        pidhash_shift += 1
    size = u32(sizeof(HlistHead)) << pidhash_shift
    printk(f"PID hash table entries: {u32(1) << pidhash_shift} (order: {pidhash_shift}, {size} bytes)\n")
    for kind in range(PIDTYPE_MAX):
        pid_hash[kind] = cast(ptr[HlistHead], alloc_bootmem(size, PAGE_SIZE))


@guest
def pid_slot(kind: u32, nr: i32) -> ptr[HlistHead]:
    """The slot of a number (pid_hashfn, hash_long)."""
    return pid_hash[kind] + (u32(nr) * GOLDEN_RATIO_PRIME >> (32 - pidhash_shift))


@guest
def find_pid(kind: u32, nr: i32) -> ptr[Pid]:
    """The entry that stands for a number, or NULL."""
    node: ptr[HlistNode] = pid_slot(kind, nr).first
    while node != NULL:
        pid = container_of(node, Pid, "pid_chain")
        if pid.nr == nr:
            return pid
        node = node.next
    return NULL


@guest
def attach_pid(task: ptr[TaskStruct], kind: u32, nr: i32) -> None:
    """Enter a task under a number of its own."""
    entry: ptr[Pid] = task.pids[kind]
    entry.nr = nr
    hlist_add_head(entry.pid_chain, pid_slot(kind, nr))


@guest
def detach_pid(task: ptr[TaskStruct], kind: u32) -> None:
    """Take a task out; its number is free."""
    hlist_del(task.pids[kind].pid_chain)


@guest
def find_task_by_pid(nr: i32) -> ptr[TaskStruct]:
    """A task by its number, or NULL.  tasklist_lock is held."""
    pid = find_pid(PIDTYPE_PID, nr)
    return container_of(pid, TaskStruct, "pids") if pid != NULL else NULL
