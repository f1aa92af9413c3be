# SPDX-License-Identifier: GPL-2.0-or-later
"""What the process that talks to a debugger asks of a machine, and what it hears from it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Watch:
    """Bytes of physical memory, and where the debugger asked for them."""

    linear: int
    physical: int
    size: int


@dataclass(frozen=True)
class Go:
    """Run on, until one of these."""

    until: int | None = None
    """The number of an instruction: stop before it, whatever else there is."""
    step: int | None = None
    """A CPU: stop before its next instruction,"""
    outside: tuple[int, int] | None = None
    """if that is not in this range."""
    breakpoints: frozenset[int] = frozenset()
    """Linear addresses."""
    watches: tuple[Watch, ...] = ()
    only_note: bool = False
    """Do not stop but at `until`; tell of the last hit then."""
    checkpoints_from: int | None = None
    """Leave copies behind from this number on, now and then."""
    trail: int | None = None
    """A CPU: take down its instructions, up to `until`."""


@dataclass(frozen=True)
class Changed:
    """A watched place has another value."""

    watch: Watch
    by: str
    """Who wrote: a CPU's instruction, an event's delivery, a device."""


@dataclass(frozen=True)
class Passing:
    """A machine that runs on tells how far it has come."""

    number: int


@dataclass(frozen=True)
class Trace:
    """An instruction that a CPU ran."""

    number: int
    address: int
    stack: int
    """Its stack pointer before it."""


@dataclass(frozen=True)
class Place:
    """Where a machine has stopped: before an instruction."""

    number: int
    """Of the instruction that comes next; after the last one when the run is over."""
    cpu: int
    """Whose it is; after a change, the CPU that wrote."""
    why: str = ""
    """until, step, break, watch, interrupt or end."""
    changed: Changed | None = None
    hit: Place | None = None
    """The last place where it would have stopped, had it not been told to take notes only."""
    again: bool = False
    """The instruction has a second number, with which it counts (`cpu.steps.Steps.begins_again`)."""


@dataclass(frozen=True)
class Forked:
    """A copy of the machine waits at the channel's end that comes with this."""

    place: Place
    ran: bytes
    """Where there were instructions since the copy before (`cpu.steps.PLACES`); empty: not known."""


@dataclass(frozen=True)
class Milestone:
    """Something the run came past."""

    name: str
    number: int
    ns: int
    """Virtual time."""
    text: str = ""


@dataclass
class Seen:
    """What a machine has to tell of itself when it stops."""

    place: Place
    ns: int
    milestones: list[Milestone] = field(default_factory=list)
    ending: str = ""
    """How the run ended, once it has."""
    trail: list[Trace] = field(default_factory=list)
    """What `Go.trail` asked for."""
