# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run tells while it goes on: phases with their times, progress, and the guest's console."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from kdumpsim.records import Form, Record, stored


@dataclass(frozen=True)
class Phase(Record):
    """A phase that ended: virtual time in ns since power-on at its end, and what it cost in both times."""

    name: str
    detail: str
    virtual_ns: int
    virtual_end_ns: int
    host_s: float = field(metadata=stored(Form(lambda seconds: round(seconds, 6), float)))


class Observer(Protocol):
    """An observer of a run: the live display, plain lines, or none."""

    def begin(self, name: str, title: str) -> None:
        """A phase begins."""

    def end(self, phase: Phase) -> None:
        """It ended."""

    def progress(self, done: int, total: int) -> None:
        """Bytes of the dump saved so far."""

    def console(self, text: str) -> None:
        """Text from the guest's serial console."""


class Silent:
    """An observer that watches nothing."""

    def begin(self, name: str, title: str) -> None:
        """Ignored."""

    def end(self, phase: Phase) -> None:
        """Ignored."""

    def progress(self, done: int, total: int) -> None:
        """Ignored."""

    def console(self, text: str) -> None:
        """Ignored."""


class PhaseClock:
    """Times phases on both clocks and passes them to an observer."""

    def __init__(self, observer: Observer, virtual_now: Callable[[], int]) -> None:
        self.phases: list[Phase] = []
        self.observer = observer
        self._virtual_now = virtual_now
        self._open: tuple[str, int, float] | None = None

    def retell(self, console: str) -> None:
        """Tell the observer of the phases that another machine went through, and what its console said in them."""
        for phase in self.phases:
            self.observer.begin(phase.name, phase.detail)
            self.observer.console(console)
            self.observer.end(phase)
            console = ""

    def begin(self, name: str, title: str) -> None:
        """End the open phase, if any, and begin the next."""
        self.end()
        self._open = (name, self._virtual_now(), time.perf_counter())
        self.observer.begin(name, title)

    def end(self, detail: str = "") -> None:
        """End the open phase; a second call does nothing."""
        if self._open is None:
            return
        name, virtual, host = self._open
        self._open = None
        now = self._virtual_now()
        phase = Phase(name, detail, now - virtual, now, time.perf_counter() - host)
        self.phases.append(phase)
        self.observer.end(phase)
