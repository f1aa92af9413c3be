# SPDX-License-Identifier: GPL-2.0-or-later
"""What is taken down of a run for its pictures: the machine at its milestones, and everything a timeline has.

Nothing in the guest's run changes. A milestone costs a picture of RAM, which shares with the one before what has not
changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kdumpsim.explain.pictures.cpoints import PointWatch, Seen
from kdumpsim.explain.pictures.layout import DumpLayout
from kdumpsim.mechanisms.base import Area, DumpHeader, Station
from kdumpsim.runs.events import Observer, Phase
from kdumpsim.runs.session import Session
from kdumpsim.runs.timeline import Span, Timeline
from kdumpsim.vmcore.oracle import Instant, Oracle
from kdumpsim.vmcore.reader import VmcoreError

CONTROLLERS = ("lapic", "ioapic", "pic")
"""How the names of interrupt controllers begin."""
PREPARED, ARMED, CRASH, JUMP, END = "loaded", "armed", "crash", "hand-over", "end"


@dataclass(frozen=True)
class Moment:
    """The machine at a milestone."""

    name: str
    title: str
    instant: Instant
    controllers: Mapping[str, Any]
    """State of the interrupt controllers, by device."""


@dataclass
class Record:
    """A run, as its pictures want it."""

    session: Session
    moments: dict[str, Moment] = field(default_factory=dict)
    """By name, in the order in which they were come past."""
    areas: Sequence[Area] = ()
    """What the mechanism had in memory when it was ready."""
    headers: Sequence[DumpHeader] = ()
    """Program headers that it had prepared for the dump."""
    stations: Sequence[Station] = ()
    """Milestones after the hand-over that there are, come past or not."""
    spans: Sequence[Span] = ()
    points: Sequence[Seen] = ()
    """What happened to the crash point that was armed."""
    dump: DumpLayout | None = None
    """None without one that can be read."""

    @property
    def oracle(self) -> Oracle:
        """What the machine saw of the crash."""
        return self.session.oracle

    def moment(self, *names: str) -> Moment | None:
        """The last of these that was come past."""
        found = [self.moments[name] for name in names if name in self.moments]
        return max(found, key=lambda moment: moment.instant.time_ns, default=None)

    @property
    def order(self) -> list[Moment]:
        """All moments in time."""
        return sorted(self.moments.values(), key=lambda moment: moment.instant.time_ns)


class _Phases:
    """Tells the recorder of phases that end, and whoever watched before of everything."""

    def __init__(self, recorder: Recorder, before: Observer) -> None:
        self._recorder, self._before = recorder, before
        self.begin, self.progress, self.console = before.begin, before.progress, before.console

    def end(self, phase: Phase) -> None:
        """A phase has ended."""
        self._recorder.phase_ended(phase)
        self._before.end(phase)


class Recorder:
    """Takes a session down from now on, which is before it is started."""

    def __init__(self, session: Session) -> None:
        """ScenarioError for a machine whose CPUs cannot be watched."""
        self._timeline = Timeline(session)
        self._points = PointWatch(session)
        self._session = session
        self._record = Record(session)
        session.clock.observer = _Phases(self, session.clock.observer)
        oracle = session.oracle
        self._died, self._jumped = oracle.on_crash, oracle.on_jump
        oracle.on_crash, oracle.on_jump = self._crash, self._jump

    def _take(self, name: str, title: str, instant: Instant | None = None, *, with_picture: bool = True) -> None:
        states = {
            fitted.device.name: fitted.device.state()
            for fitted in self._session.machine.devices  # type: ignore[attr-defined]
            if fitted.device.name.startswith(CONTROLLERS)
        }
        instant = instant or self._session.oracle.look(name, picture=with_picture)
        self._record.moments[name] = Moment(name, title, instant, states)

    def phase_ended(self, phase: Phase) -> None:
        """Called between slices, by the session's clock."""
        session = self._session
        if phase.name == "load":
            self._record.areas = session.mechanism.areas(session)
            self._record.headers = session.mechanism.headers(session)
            self._record.stations = session.mechanism.stations()
            for station in self._record.stations:
                session.machine.watch(station.address, partial(self._come_past, station))
            self._take(PREPARED, "the dump mechanism is ready")
        elif phase.name == "arm":
            self._take(ARMED, "the crash is armed", with_picture=False)

    def _come_past(self, station: Station, cpu: Any) -> None:
        oracle = self._session.oracle
        if oracle.jump is not None and station.name not in self._record.moments:
            self._take(station.name, station.title, oracle.look(station.name, cpu))

    def _crash(self) -> None:
        self._take(CRASH, "the kernel begins to die", self._session.oracle.crash)
        if self._died is not None:
            self._died()

    def _jump(self) -> None:
        self._take(JUMP, f"the kernel hands over: {self._session.mechanism.hand_over}", self._session.oracle.jump)
        if self._jumped is not None:
            self._jumped()

    def record(self) -> Record:
        """All of it, once the run is over and before the machine is closed."""
        self._take(END, "the run is over", with_picture=False)
        self._record.spans = self._timeline.spans()
        if self._session.armed is not None and self._session.armed.crash_point:
            self._record.points = self._points.of(self._session.armed.crash_point)
        with suppress(VmcoreError):
            core = self._session.mechanism.opened(self._session)
            if core is not None:
                with core:
                    self._record.dump = DumpLayout.of(core)
        return self._record
