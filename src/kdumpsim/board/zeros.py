# SPDX-License-Identifier: GPL-2.0-or-later
"""Much of what moves is zeros: these are one object for each size, so that finding it again costs no look at them."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=32)
def zeros(size: int) -> bytes:
    """So many zeros."""
    return bytes(size)
