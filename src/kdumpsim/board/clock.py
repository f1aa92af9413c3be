# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual time: nanoseconds since power-on, and the events that are due.

The Machine moves the clock; while a CPU runs a slice, `now` follows the code it retires. Events due at the same
nanosecond fire in the order they were armed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from kdumpsim.cpu import Counter

NS_PER_BYTE = 32
"""Nanoseconds of virtual time per retired code byte: about 10 MIPS."""


MAX_EVENTS_AT_ONCE = 100_000


class Standstill(RuntimeError):
    """A fault of this program: virtual time does not move on. It says nothing about the guest."""


class ClockTimer:
    """A timer of the machine's clock (see `kdumpsim.apic.timers.Timer`)."""

    def __init__(self, clock: Clock, name: str, callback: Callable[[], None]) -> None:
        self.name = name
        self.callback = callback
        self.deadline: int | None = None
        self.order = 0  # of arming: decides between events due at the same nanosecond
        self._clock = clock

    def arm(self, deadline_ns: int) -> None:
        """Call back once `now` has reached a time."""
        if self.deadline != deadline_ns:
            self.deadline = deadline_ns
            self._clock._push(self)

    def cancel(self) -> None:
        """Forget the pending event, if there is one."""
        self.deadline = None

    def __repr__(self) -> str:
        return f"<timer {self.name} at {self.deadline}>"


class Clock:
    """The clock and its queue. `armed` is told of every new deadline, so a running slice can be cut short."""

    name = "clock"

    def __init__(self) -> None:
        self.base = 0
        self.armed: Callable[[int], None] = lambda deadline: None
        self._cpu: Counter | None = None
        self._zero = 0  # `now` minus the running CPU's retired bytes, in ns
        self._queue: list[tuple[int, int, ClockTimer]] = []
        self._order = 0
        self._timers: dict[str, ClockTimer] = {}

    @property
    def now(self) -> int:
        """The present, as the running CPU sees it, or as the machine does between slices."""
        cpu = self._cpu
        return self.base if cpu is None else self._zero + cpu.retired * NS_PER_BYTE

    def timer(self, name: str, callback: Callable[[], None]) -> ClockTimer:
        """A new timer, not armed. No two of a clock may have the same name."""
        if name in self._timers:
            raise ValueError(f"there is a timer {name!r} already")
        timer = self._timers[name] = ClockTimer(self, name, callback)
        return timer

    def _push(self, timer: ClockTimer) -> None:
        assert timer.deadline is not None
        timer.order = self._order = self._order + 1
        heapq.heappush(self._queue, (timer.deadline, timer.order, timer))
        self.armed(timer.deadline)

    def silence(self, names: Callable[[str], bool]) -> None:
        """Timers with such names never come any more: what they belong to has failed.  No snapshot has it."""
        for name, timer in self._timers.items():
            if names(name):
                timer.callback = lambda: None

    # For the Machine.

    def follow(self, cpu: Counter, now: int) -> int:
        """From now on, time is what this CPU retires, starting at `now`.  Returns its `zero`, which is set."""
        self._cpu = cpu
        self._zero = cpu.zero = zero = now - cpu.retired * NS_PER_BYTE
        return zero

    def unfollow(self) -> int:
        """Stop following; the time that CPU has reached. `base` is not moved."""
        reached = self.now
        self._cpu = None
        return reached

    def advance(self, now: int) -> None:
        """Move the base on; time never goes back."""
        self.base = max(self.base, now)

    def next_deadline(self) -> int | None:
        """When the next event is due."""
        queue = self._queue
        while queue:
            deadline, order, timer = queue[0]
            if timer.deadline is not None and timer.order == order:
                return deadline
            heapq.heappop(queue)  # cancelled or moved
        return None

    def fire(self) -> None:
        """Run the events that are due, including those that these arm for the past. Standstill if there is no end."""
        fired = 0
        while (deadline := self.next_deadline()) is not None and deadline <= self.base:
            fired += 1
            if fired > MAX_EVENTS_AT_ONCE:
                raise Standstill(f"events at {self.base} ns arm each other for ever")
            _, _, timer = heapq.heappop(self._queue)
            timer.deadline = None
            timer.callback()

    def reset(self) -> None:
        """Time goes on; devices cancel their own timers."""

    def state(self) -> dict[str, Any]:
        """`now`, ns, and `armed`: (name, deadline) of each armed timer in the order in which they will fire."""
        armed = sorted((t.deadline, t.order, t.name) for t in self._timers.values() if t.deadline is not None)
        return {"now": self.base, "armed": [(name, deadline) for deadline, _, name in armed]}

    def restore(self, state: dict[str, Any]) -> None:
        """Back to a `state()`. Devices have nothing to re-arm."""
        self.base = state["now"]
        self._queue.clear()
        for timer in self._timers.values():
            timer.deadline = None
        for name, deadline in state["armed"]:
            self._timers[name].arm(deadline)
