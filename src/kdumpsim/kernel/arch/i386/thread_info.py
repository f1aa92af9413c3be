# SPDX-License-Identifier: GPL-2.0-or-later
"""thread_info, at the low end of every kernel stack (include/asm-i386/thread_info.h).

Whoever overruns the stack overwrites this structure first: current, smp_processor_id() and the preemption count go
with it (LKDTT paper, section 5.2.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import (
    Struct,
    Union,
    aligned,
    array,
    asm_value,
    cast,
    guest,
    i32,
    length,
    ptr,
    sizeof,
    u32,
    usize,
)
from kdumpsim.kernel.core.config import THREAD_SIZE

if TYPE_CHECKING:
    from kdumpsim.kernel.core.sched_types import TaskStruct

TIF_SIGPENDING: Final = 2
"""Bit of ThreadInfo.flags: a signal is to be delivered before the return to ring 3."""
TIF_NEED_RESCHED: Final = 3
"""Bit of ThreadInfo.flags: a more urgent task waits for this CPU."""


class ThreadInfo(Struct):
    """What entry code must find without any lookup."""

    task: ptr[TaskStruct]
    flags: u32
    cpu: u32
    preempt_count: i32
    """0: preemptible; negative: a bug; the fields are in core/hardirq.py."""
    addr_limit: u32
    previous_esp: u32
    """Of a stack for interrupts or softirqs: where the stack it was entered from had got to; else 0."""


@aligned(THREAD_SIZE)
class ThreadUnion(Union):
    """A kernel stack, at whose low end its thread_info is."""

    thread_info: ThreadInfo
    stack: array[usize] = length(THREAD_SIZE // sizeof(usize))


@guest
def current_thread_info() -> ptr[ThreadInfo]:
    """The thread_info of the stack we run on, found by masking ESP."""
    return cast(ptr[ThreadInfo], asm_value(u32, "movl %esp, $0", "=r") & ~u32(THREAD_SIZE - 1))


@guest
def current() -> ptr[TaskStruct]:
    """The task that runs on this CPU."""
    return current_thread_info().task


@guest
def smp_processor_id() -> u32:
    """Number of the CPU we run on, as the stack's thread_info says."""
    return current_thread_info().cpu
