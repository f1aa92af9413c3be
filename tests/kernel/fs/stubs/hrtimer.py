# SPDX-License-Identifier: GPL-2.0-or-later
"""In place of kdumpsim.kernel.core.hrtimer: nothing here sets an alarm."""

from __future__ import annotations

from kdumpsim.compiler.lang import Struct, u32


class Hrtimer(Struct):
    """Nothing here looks into it."""

    unused: u32
