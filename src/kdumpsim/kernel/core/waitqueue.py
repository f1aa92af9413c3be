# SPDX-License-Identifier: GPL-2.0-or-later
"""Making a wait queue (include/linux/wait.h), for those that do not wait themselves; waiting is in wait.py."""

from __future__ import annotations

from kdumpsim.compiler.lang import guest, ptr
from kdumpsim.kernel.core.list import init_list_head
from kdumpsim.kernel.core.spinlock import spin_lock_init
from kdumpsim.kernel.core.wait_types import WaitQueue


@guest
def init_waitqueue(queue: ptr[WaitQueue]) -> None:
    """Make a queue in which nobody waits."""
    spin_lock_init(queue.lock)
    init_list_head(queue.task_list)
