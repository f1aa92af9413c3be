# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws from a seed: the same on every host and with every Python."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TypeVar

from kdumpsim.board.jitter import Jitter

Item = TypeVar("Item")


class Draw:
    """A stream of draws that is its `words`' own, numbers among them."""

    def __init__(self, *words: object) -> None:
        digest = sha256(" ".join(map(str, words)).encode()).digest()
        self._stream = Jitter(int.from_bytes(digest[:8], "little"))

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1."""
        return self._stream.draw() * limit >> 64

    def of(self, items: Sequence[Item]) -> Item:
        """One of them; IndexError where there is none."""
        return items[self.below(len(items))]
