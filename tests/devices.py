# SPDX-License-Identifier: GPL-2.0-or-later
"""A bench to test one device on: a clock that goes where it is told, and lines that remember."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdumpsim.board.clock import Clock


class Probe:
    """A line that remembers every change."""

    def __init__(self) -> None:
        self.level = False
        self.changes: list[bool] = []

    def __call__(self, level: bool) -> None:
        self.level = level
        self.changes.append(level)

    @property
    def rises(self) -> int:
        return sum(self.changes)


def run_until(clock: Clock, moment: int) -> None:
    """Move a clock on, firing every event on its way at its own time."""
    while (deadline := clock.next_deadline()) is not None and deadline <= moment:
        clock.advance(deadline)
        clock.fire()
    clock.advance(moment)


def run_for(clock: Clock, ns: int) -> None:
    run_until(clock, clock.now + ns)


def transplant(device: Any, clock: Clock, make: Callable[[Clock], Any]) -> Any:
    """A second device with its own clock, restored from the first one's state."""
    other_clock = Clock()
    other = make(other_clock)
    other.restore(device.state())
    state = clock.state()
    known = other_clock._timers  # the first clock may have other devices', too
    other_clock.restore({**state, "armed": [(name, at) for name, at in state["armed"] if name in known]})
    return other
