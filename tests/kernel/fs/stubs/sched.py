# SPDX-License-Identifier: GPL-2.0-or-later
"""In place of core.sched: nobody may have to wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpsim.compiler.lang import asm, guest, ptr

if TYPE_CHECKING:
    from kdumpsim.kernel.core.sched_types import TaskState, TaskStruct


@guest
def schedule() -> None:
    asm("hlt")


@guest
def preempt_schedule() -> None:
    pass


@guest
def set_current_state(state: TaskState) -> None:
    pass


@guest
def wake_up_process(task: ptr[TaskStruct]) -> bool:
    return False
