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
    u8,
    u32,
    usize,
)
from kdumpsim.kernel.core.config import STACK_CHECK, STACK_GUARD, THREAD_SIZE

if TYPE_CHECKING:
    from kdumpsim.kernel.core.sched_types import TaskStruct

STACK_ROOM: Final = 2 * THREAD_SIZE if STACK_GUARD else THREAD_SIZE
"""From one stack of an array to the next: a guarded one has so much room below that its last page can be unmapped."""
STACK_END_MAGIC: Final = 0x57AC_6E9D
"""The last word of a stack, right above thread_info, with STACK_CHECK (include/linux/magic.h from 2.6.27 on)."""

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


@guest
def stack_of_cpu(stacks: ptr[u8], cpu: u32) -> ptr[ThreadInfo]:
    """A CPU's stack in an array of them, by the thread_info at its low end."""
    return cast(ptr[ThreadInfo], stacks + (cpu + 1) * STACK_ROOM - THREAD_SIZE)


@guest
def end_of_stack(info: ptr[ThreadInfo]) -> ptr[u32]:
    """The last word that a stack may grow to."""
    return cast(ptr[u32], info + 1)


@guest
def set_stack_end_magic(info: ptr[ThreadInfo]) -> None:
    """Mark the end of a new stack, for check_stack() to find it."""
    if STACK_CHECK:
        end_of_stack(info)[0] = STACK_END_MAGIC
