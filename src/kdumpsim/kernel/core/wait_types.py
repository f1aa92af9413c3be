# SPDX-License-Identifier: GPL-2.0-or-later
"""The head of a wait queue (include/linux/wait.h), for structures that hold one; waiting is in wait.py."""

from __future__ import annotations

from kdumpsim.compiler.lang import Struct
from kdumpsim.kernel.core.spinlock_types import Spinlock
from kdumpsim.kernel.core.types import ListHead


class WaitQueue(Struct):
    """Tasks that wait for one event (wait_queue_head_t)."""

    lock: Spinlock
    task_list: ListHead
