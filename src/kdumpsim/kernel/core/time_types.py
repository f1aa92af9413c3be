# SPDX-License-Identifier: GPL-2.0-or-later
"""A time as a structure (include/linux/time.h)."""

from __future__ import annotations

from kdumpsim.compiler.lang import Struct, u32


class Timespec(Struct):
    """Seconds and nanoseconds."""

    tv_sec: u32
    tv_nsec: u32
