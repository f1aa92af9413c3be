# SPDX-License-Identifier: GPL-2.0-or-later
"""The past of a console's machine: its run again from power-on, with all that was typed, and any place in that.

What is typed is part of the run. A replay of it (`debugger.replay`, in a process of its own) is compared with the
machine itself before anything is shown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from kdumpsim.console.errors import Refused
from kdumpsim.debugger.orders import Go, Place, Watch
from kdumpsim.debugger.travel import MachineGone, Traveller
from kdumpsim.debugger.views import Views
from kdumpsim.runs.run import power_on
from kdumpsim.runs.session import Session

EXACT = 1_000
"""Instructions that are counted one by one; of more, those that the engine begins twice count as two."""


@dataclass(frozen=True)
class Line:
    """What was typed, and when it was interrupted, in virtual time."""

    text: str
    interrupted_ns: int | None = None


class Past:
    """The way back from a session's present."""

    def __init__(self, session: Session, repeat: Callable[[Session, bool, list[Line]], None]) -> None:
        """`repeat` boots a session (armed or not) and carries out lines in it."""
        self._session, self._repeat = session, repeat
        self._views = Views(session)
        self.lines: list[Line] = []
        self.armed: bool | None = None
        """Whether it was armed after booting; None: nobody knows how it was booted."""
        self._traveller: Traveller | None = None
        self._replayed = 0
        self._present = 0
        self._ends: tuple[int, int] | None = None
        """Of a pipe, in which an interruption is heard; with the first replay."""
        self.place: Place | None = None
        """Where one is looking; None: in the present."""

    def close(self) -> None:
        """End the replay's processes."""
        if self._traveller is not None:
            self._traveller.close()
        for end in self._ends or ():
            os.close(end)
        self._traveller = self.place = self._ends = None

    def interrupt(self) -> None:
        """End what is under way (Ctrl-C)."""
        if self._ends is not None:
            os.write(self._ends[1], b"!")

    def _asked(self) -> bool:
        return bool(os.read(self._heard, 64))

    @property
    def _heard(self) -> int:
        if self._ends is None:
            self._ends = os.pipe()
            os.set_blocking(self._ends[0], False)
        return self._ends[0]

    # Looking.

    def ask(self, name: str, *arguments: Any) -> Any:
        """A view (`debugger.views`) of where one is."""
        if self.place is None or self._traveller is None:
            return getattr(self._views, name)(*arguments)
        return self._traveller.ask(name, *arguments)

    def watches(self, cpu: int, address: int, size: int) -> tuple[Watch, ...]:
        """Memory for `back_to` to watch; ValueError if it is no RAM."""
        self._here()
        return tuple(Watch(address, physical, part) for physical, part in self.ask("watchable", cpu, address, size))

    def distance(self) -> int:
        """Instructions from where one is to the present."""
        return self._present - self.place.number if self.place is not None else 0

    # Moving.

    def back(self, count: int) -> Place:
        """Go back so many instructions of all CPUs together."""
        here = self._here()
        if here - count < 1:
            raise Refused(f"the machine was switched on {here - 1:,} instructions ago")
        if count > EXACT:
            return self._settle(here - count, -1)
        places = list(self.walk(count))
        return self._come(places[0].number if places else 1)

    def back_to(self, go: Go) -> Place | None:
        """Go to the last place where there was something to stop for; None if there was none: nothing has moved."""
        here, travel = self._here(), self._travel()
        place = travel.back(go, self._asked, self._heard)
        if place is None:
            self._come(here)
            return None
        return self._arrive(place)

    def back_time(self, ns: int) -> Place:
        """Go back by a time."""
        now = self.ask("now")
        return self._at_time(now - ns, 1, self._here()) if now > ns else self._come(1)

    def forward(self, count: int) -> Place | None:
        """Go on so many instructions, or to the present (None)."""
        here, seen = self._here(), 0
        if count > EXACT:
            return self._settle(min(here + count, self._present), 1)
        for number in range(here + 1, min(here + 2 * count + 8, self._present)):
            place = self._come(number)
            seen += not place.again
            if seen == count:
                return place
        return self.leave()

    def forward_time(self, ns: int) -> Place | None:
        """Go on by a time, or to the present (None)."""
        until = self.ask("now") + ns
        if until >= self._session.now:
            return self.leave()
        return self._at_time(until, self._here(), self._present)

    def forward_to(self, go: Go) -> Place | None:
        """Go on to something to stop for, or to the present (None)."""
        self._here()
        place = self._travel().forward(replace(go, until=self._present), self._asked, self._heard)
        return self.leave() if place.number >= self._present else self._arrive(place)

    def leave(self) -> Place | None:
        """Return to the present, which is no place in the past."""
        self.place = None
        return self.place

    def walk(self, count: int) -> Iterator[Place]:
        """The last `count` instructions before here, one after another; looking happens there meanwhile.  Ends where it
        began."""
        here, before = self._here(), self.place
        numbers = []
        for number in range(max(1, here - 2 * count - 8), here):
            if not self._come(number).again:
                numbers.append(number)
        for number in numbers[-count:]:
            yield self._come(number)
        self._come(here)
        self.place = before

    def _settle(self, number: int, step: int) -> Place:
        """Go to an instruction, or to the next one in a direction that counts."""
        place = self._come(number)
        while place.again and 1 < place.number < self._present:
            place = self._come(place.number + step)
        return place

    def _at_time(self, ns: int, low: int, high: int) -> Place:
        """Go to the first instruction, between two, before which it is that late."""
        while low < high:
            middle = (low + high) // 2
            self._come(middle)
            if self.ask("now") < ns:
                low = middle + 1
            else:
                high = middle
        return self._settle(low, -1)

    def _come(self, number: int) -> Place:
        return self._arrive(self._travel().goto(number, self._asked, self._heard))

    def _arrive(self, place: Place) -> Place:
        if place.why == "interrupt":
            self.place = place
            raise Refused("interrupted")
        self.place = place
        return place

    def _here(self) -> int:
        """The number of the instruction that comes next where one is; from the present, the replay is made first."""
        with suppress(BlockingIOError):
            os.read(self._heard, 64)  # meant for something else
        if self.place is not None:
            return self.place.number
        self._replay()
        return self._present

    def _travel(self) -> Traveller:
        assert self._traveller is not None
        return self._traveller

    def _replay(self) -> None:
        """Repeat all that was typed, unless that has been done."""
        if self._traveller is not None and self._replayed == len(self.lines):
            return
        self.close()
        if self.armed is None:
            raise Refused("nobody has recorded how this machine was booted, so its run cannot be repeated")
        again = power_on(self._session.pc, self._session.kernel)
        lines, armed = list(self.lines), self.armed

        def course() -> str:
            self._repeat(again, armed, lines)
            return ""

        try:
            self._traveller = travel = Traveller(again, course)
            place = travel.forward(Go(), self._asked, self._heard)
            if place.why != "end":
                raise Refused("interrupted")
            if travel.ask("digest") != self._views.digest():
                raise Refused(
                    "the same commands have led to another state of the machine, so what could be shown is not this "
                    "session's past; please report that with what was typed"
                )
        except (Refused, MachineGone) as error:
            self.close()
            raise error if isinstance(error, Refused) else Refused("the replay has ended unexpectedly") from error
        self._present, self._replayed = place.number, len(lines)
