# SPDX-License-Identifier: GPL-2.0-or-later
"""Rounds of several CPUs that only wait, for each other or for an event.

Such CPUs change nothing that another one looks at, so it is all the same in which order they run, and in what turns.
Their rounds up to the next event are therefore one round; only the jitter is drawn as often as it would have been.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kdumpsim.board.jitter import Jitter
from kdumpsim.cpu import Cpu

WORTH_NS: Final = 500_000
"""Less than this to the next event is left as it is."""
HOT: Final = 16
"""Rounds in which it is looked again at once, after one in which all CPUs were found to wait."""
REST: Final = 3
"""Rounds without a look after one, otherwise; twice as many after each time that looking closer was in vain,"""
LONGEST_REST: Final = 255
"""up to so many."""


class Spinning:
    """Looks whether all CPUs that run wait."""

    def __init__(self, cpus: Sequence[Cpu], jitter: Jitter, quantum_ns: int) -> None:
        self._cpus, self._jitter, self._quantum = cpus, jitter, quantum_ns
        self._resting = 0
        self._rest = REST
        self._hot = 0
        self._looked_closer = False

    def last_end(self, end: int, event: int | None, halt: int) -> int:
        """The end of a round of several CPUs that was to end at `end`, with the rounds that follow it and are no more
        than waiting: up to the next event, or to the first that ends at or after `halt`.
        """
        if self._resting:
            self._resting -= 1
            return end
        limit = halt if event is None else min(event, halt)
        if limit - end < WORTH_NS:
            return end
        if not self._all_wait():
            return end
        around, quantum = self._jitter.around, self._quantum
        while end < limit:
            end += around(quantum)
            if event is not None and end > event:
                return event
        return end

    def _all_wait(self) -> bool:
        running = [cpu for cpu in self._cpus if not (cpu.halted or cpu.waiting_for_sipi or cpu.shutdown)]
        loops = [loop for cpu in running if (loop := cpu.loop()) is not None]
        if len(loops) == len(running):
            self._looked_closer = False
            if not any(one is not other and one.minds(other) for one in loops for other in loops):
                self._hot, self._rest = HOT, REST
                for cpu in running:
                    cpu.look_closer()
                return True
            self._rest = self._resting = LONGEST_REST
            return False
        in_vain, self._looked_closer = self._looked_closer, False
        if self._hot:
            self._hot -= 1
        elif in_vain:
            self._resting = self._rest = min(2 * self._rest + 1, LONGEST_REST)
            return False
        dwelling = [cpu for cpu in running if cpu.dwells()]  # each remembers the place
        if len(dwelling) == len(running):
            for cpu in running:
                cpu.look_closer()
            self._looked_closer = True
        elif not self._hot:
            self._resting = self._rest
        return False
