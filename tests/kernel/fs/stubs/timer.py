# SPDX-License-Identifier: GPL-2.0-or-later
"""In place of core.timer."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import asm, guest, u32

MAX_SCHEDULE_TIMEOUT: Final = 0x7FFFFFFF


@guest
def schedule_timeout(timeout: u32) -> u32:
    asm("hlt")
    return 0
