# SPDX-License-Identifier: GPL-2.0-or-later
"""A task's place in the hash table of numbers (include/linux/pid.h of 2.6.16)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from kdumpsim.compiler.lang import Struct, i32
from kdumpsim.kernel.core.types import HlistNode


class PidType(IntEnum):
    """What a number stands for; there are no thread groups, process groups and sessions here."""

    PIDTYPE_PID = 0
    PIDTYPE_MAX = 1


PIDTYPE_PID: Final = PidType.PIDTYPE_PID
PIDTYPE_MAX: Final = PidType.PIDTYPE_MAX


class Pid(Struct):
    """A task's entry under one of its numbers."""

    nr: i32
    pid_chain: HlistNode
    """Link in the slot of pid_hash."""
