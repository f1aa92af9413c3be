# SPDX-License-Identifier: GPL-2.0-or-later
"""A seeded stream of times that vary a little: SplitMix64 (Steele, Lea, Flood: Fast Splittable PRNGs, 2014)."""

from __future__ import annotations

_MASK = (1 << 64) - 1


class Jitter:
    """Same seed, same stream. `state` is all there is of it: an int below 2**64, to be saved and put back."""

    def __init__(self, seed: int) -> None:
        self.state = seed & _MASK

    def draw(self) -> int:
        """The next number, below 2**64."""
        self.state = self.state + 0x9E3779B97F4A7C15 & _MASK
        value = self.state
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
        return value ^ value >> 31

    def around(self, figure: int) -> int:
        """`figure`, give or take an eighth."""
        span = figure // 4
        return figure - span // 2 + self.draw() % (span + 1)
