# SPDX-License-Identifier: GPL-2.0-or-later
"""The spinlock itself (include/linux/spinlock_types.h), for structures that hold one."""

from __future__ import annotations

from typing import TypeAlias

from kdumpsim.compiler.lang import Struct, u32


class Spinlock(Struct):
    """A lock for short critical sections; `owner_cpu` means something only while it is held."""

    slock: u32
    owner_cpu: u32


spinlock_t: TypeAlias = Spinlock
