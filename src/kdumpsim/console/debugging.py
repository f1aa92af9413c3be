# SPDX-License-Identifier: GPL-2.0-or-later
"""What a console knows beside its machine: breakpoints, how to stop after an instruction, the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from kdumpsim.console.past import Line, Past
from kdumpsim.console.places import Kernels, program_counter
from kdumpsim.cpu.cpu import Cpu
from kdumpsim.debugger.stepper import Stepper
from kdumpsim.runs.session import Session


@dataclass
class Breakpoint:
    """A place where `step` and `continue` stop."""

    number: int
    text: str
    """As it was typed."""
    addresses: frozenset[int]
    passed: int = 0
    """How often the current command has gone past it, if it is not one that stops."""


class Debugging:
    """Belongs to one session of one console."""

    def __init__(self, session: Session, repeat: Callable[[Session, bool, list[Line]], None]) -> None:
        self._session = session
        self._machine: Any = session.machine
        self.past = Past(session, repeat)
        self.breakpoints: dict[int, Breakpoint] = {}
        self._last = 0
        self._watched: set[int] = set()
        self._stepper: Stepper | None = None
        self._stopping = False
        self._skip: tuple[int, int] | None = None
        self.stopped: Breakpoint | None = None
        """The breakpoint that has ended the current command."""
        self.cpu: int | None = None
        """The CPU that was stopped last, where it still is."""

    @cached_property
    def kernels(self) -> Kernels:
        """Names of places in it."""
        session = self._session
        folders = [Path(path).absolute().parent for path in session.kernel.guest_modules]
        return Kernels(session.first, session.mechanism.kernels, folders)

    # Breakpoints.

    def add(self, text: str) -> Breakpoint:
        """Set a breakpoint; ValueError."""
        addresses = self.kernels.find(text)
        self._last += 1
        point = self.breakpoints[self._last] = Breakpoint(self._last, text, frozenset(addresses))
        for address in sorted(point.addresses - self._watched):
            self._watched.add(address)
            self._machine.watch(address, partial(self._passing, address))
        if self.cpu is not None:
            self._skip = self.cpu, program_counter(self._machine.cpus[self.cpu].registers())
        return point

    def _passing(self, address: int, cpu: Cpu) -> None:
        points = [point for point in self.breakpoints.values() if address in point.addresses]
        if not points:
            return
        if self._skip == (cpu.index, address):
            self._skip = None  # the machine goes on from here
        elif self._stopping:
            self.stopped, self.cpu = points[0], cpu.index
            self._machine.request_stop()
        else:
            for point in points:
                point.passed += 1

    def addresses(self) -> frozenset[int]:
        """Of all breakpoints."""
        return frozenset(address for point in self.breakpoints.values() for address in point.addresses)

    def forget_passed(self) -> list[Breakpoint]:
        """The breakpoints that the current command has gone past; their counts are as they were then."""
        found = [point for point in self.breakpoints.values() if point.passed]
        for point in found:
            self.breakpoints[point.number] = Breakpoint(point.number, point.text, point.addresses)
        return found

    # Moving.

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Breakpoints stop the machine meanwhile."""
        self._stopping, self.cpu = True, None
        try:
            yield
        finally:
            self._stopping, self._skip = False, None

    def step(self, count: int, limit_ns: int) -> bool:
        """Run so many instructions of all CPUs together; False if something else came first."""
        if self._stepper is None:
            self._stepper = Stepper(self._machine)
        stepper = self._stepper
        stepper.arm(count)
        with self.stopping():
            self._session.advance(limit_ns)
        stepper.disarm()
        if self.stopped is None and stepper.stopped is not None:
            self.cpu = stepper.stopped
            return True
        return False

    def looked_at(self) -> int:
        """The CPU to show: the one that was stopped, or else the first that runs."""
        if self.past.place is not None:
            return self.past.place.cpu
        if self.cpu is not None:
            return self.cpu
        states = self.past.ask("cpus")
        return int(states.index("runs")) if "runs" in states else 0
