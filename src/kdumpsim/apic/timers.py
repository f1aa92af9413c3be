# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device may know of time: a clock to read and timers to arm. `board/clock.py` implements both.

Virtual time is nanoseconds since power-on, an int. Deadlines are the clock's state, not the devices': a device's
`restore` arms and cancels nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """One pending event, or none. Arming an armed timer moves it; the callback runs once per arming."""

    @property
    def deadline(self) -> int | None: ...

    def arm(self, deadline_ns: int) -> None:
        """Call back once `now` has reached `deadline_ns`; a deadline in the past means as soon as possible."""

    def cancel(self) -> None: ...


class Timers(Protocol):
    """The clock as devices see it."""

    @property
    def now(self) -> int: ...

    def timer(self, name: str, callback: Callable[[], None]) -> Timer:
        """A timer; its name is its own, and the same in every machine of the same configuration."""
