# SPDX-License-Identifier: GPL-2.0-or-later
"""The first task: the boot CPU's idle thread, pid 0 (arch/i386/kernel/init_task.c)."""

from __future__ import annotations

from kdumpsim.kernel.core.sched_types import TaskStruct

init_task: TaskStruct = TaskStruct()
"""Head of the list of all tasks as well; filled by sched_init()."""
