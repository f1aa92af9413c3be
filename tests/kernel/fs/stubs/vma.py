# SPDX-License-Identifier: GPL-2.0-or-later
"""In place of kdumpsim.kernel.mm.vma: there are no processes."""

from __future__ import annotations

from kdumpsim.compiler.lang import Struct, u32


class MmStruct(Struct):
    """Nothing here looks into it."""

    mm_users: u32
