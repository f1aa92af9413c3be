# SPDX-License-Identifier: GPL-2.0-or-later
"""In place of kdumpsim.kernel.architecture: one CPU that takes no interrupts, memory at PAGE_OFFSET."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import Struct, addr, array, cast, guest, i32, length, ptr, u8, u32, void

if TYPE_CHECKING:
    from kdumpsim.kernel.core.sched_types import TaskStruct

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 4096
TIF_NEED_RESCHED: Final = 3
boot_command_line: array[u8] = length(64)
swapper_pg_dir: array[u32] = length(1024)


class PtRegs(Struct):
    """Nothing here looks into it."""

    eip: u32


class ThreadStruct(Struct):
    """Nothing here looks into it."""

    esp: u32


class ThreadInfo(Struct):
    """What spinlocks touch."""

    task: ptr[TaskStruct]
    flags: u32
    cpu: u32
    preempt_count: i32


the_thread: ThreadInfo = ThreadInfo()
the_task: TaskStruct = TaskStruct()


@guest
def current_thread_info() -> ptr[ThreadInfo]:
    return addr(the_thread)


@guest
def current() -> ptr[TaskStruct]:
    return addr(the_task)


@guest
def smp_processor_id() -> u32:
    return 0


@guest
def cpu_relax() -> None:
    pass


@guest
def local_irq_enable() -> None:
    pass


@guest
def local_irq_save() -> u32:
    return 0


@guest
def local_irq_restore(flags: u32) -> None:
    pass


@guest
def pa(address: u32) -> u32:
    return address - 0xC0000000


@guest
def copy_words(dest: ptr[void], src: ptr[void], count: u32) -> None:
    to: ptr[u32] = cast(ptr[u32], dest)
    from_: ptr[u32] = cast(ptr[u32], src)
    for i in range(count):
        to[i] = from_[i]


@guest
def clear_words(dest: ptr[void], count: u32) -> None:
    to: ptr[u32] = cast(ptr[u32], dest)
    for i in range(count):
        to[i] = 0
