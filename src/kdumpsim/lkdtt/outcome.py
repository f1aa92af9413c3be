# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of a run, in the legend of the LKDTT paper (section 4), from what was seen and nothing else.

``O`` is success, ``X`` failure; marks in brackets say more.  The notes of a run are things that somebody at the machine
could see: lines on the console, the operator's own doings, a dump that is there, the machine resetting itself.
:func:`name_outcome` knows neither the crash point nor the crash type.  docs/outcomes.md has the rules in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

from kdumpsim.records import LIST, NOT_STORED, Form, Record, each, stored

NS = 1_000_000_000

MARKS: dict[str, str] = {
    "nmiw": "an error was detected, the kernel hung handing over, and the NMI watchdog then started the dump; or the "
    "kernel itself had saved the dump, and the NMI watchdog found that it hung on reboot",
    "det": "the soft-lockup watchdog printed the hang and did nothing about it",
    "log": "the system became unusable: it still answered, but logging in was no longer possible",
    "unk": "the load program became unkillable",
    "SysRq": "the dump was started with the SysRq key",
    "2c": "control reached the capture kernel, but it saved no dump",
    "nrbt": "the machine hung on reboot",
}
"""In the order in which the paper writes them."""


class Seen(Enum):
    """What can be noted of a run."""

    HIT = "the crash point's failure was induced"
    OOPS = "the kernel reported an oops"
    PANIC = "the kernel panicked"
    NMI_WATCHDOG = "the NMI watchdog found a lockup"
    SOFT_LOCKUP = "the soft-lockup watchdog printed a lockup"
    SILENT = "the machine no longer answered"
    NO_LOGIN = "logging in was impossible"
    STUCK = "the load no longer made progress"
    UNKILLABLE = "the load could not be killed"
    NOT_CROSSED = "the crash point was not crossed"
    RECOVERED = "the system worked again"
    NO_EFFECT = "the machine was the one without the fault"
    REBOOTING = "the operator rebooted the machine"
    REBOOT_HANGS = "the machine hung on reboot"
    SYSRQ_PRESSED = "the operator pressed Alt-SysRq-C"
    SYSRQ_TAKEN = "the kernel took the key"
    PLUG_PULLED = "the operator pulled the plug"
    HANDED_OVER = "the kernel handed over to its dump mechanism"
    CAPTURE_STARTED = "the capture kernel was entered"
    DUMP_SAVED = "a complete dump was saved"
    RESET = "the machine reset"
    SHUT_DOWN = "the CPUs shut down"


CONSOLE_SIGNS: tuple[tuple[re.Pattern[str], Seen], ...] = (
    (re.compile(r"NMI Watchdog detected LOCKUP"), Seen.NMI_WATCHDOG),
    (re.compile(r"soft lockup detected"), Seen.SOFT_LOCKUP),
    (re.compile(r"Unable to handle kernel"), Seen.OOPS),
    (re.compile(r"kernel BUG at"), Seen.OOPS),
    (re.compile(r": [0-9a-f]{4} \[#\d+\]"), Seen.OOPS),  # what die() says, whatever the exception: "Oops: 0002 [#1]"
    (re.compile(r"Recursive die\(\) failure"), Seen.OOPS),
    (re.compile(r"double fault, gdt at"), Seen.OOPS),
    (re.compile(r"Kernel panic - not syncing"), Seen.PANIC),
    (re.compile(r"SysRq : Trigger a crashdump"), Seen.SYSRQ_TAKEN),
)
"""What the first kernel's console says, as 2.6.16 writes it, and what that is a sign of."""


@dataclass(frozen=True)
class Note(Record):
    """Something seen, and when."""

    at_ns: int
    seen: Seen = field(metadata=stored(Form(lambda seen: seen.name.lower(), lambda name: Seen[name.upper()])))
    text: str

    def __str__(self) -> str:
        return f"{self.at_ns / NS:.3f} s: {self.text}"


def console_notes(lines: Iterable[tuple[int, str]], told: str = "the console said") -> list[Note]:
    """What the first kernel's console lines (time, text) tell; each kind of sign once, where it first stands."""
    notes: dict[Seen, Note] = {}
    for at, line in lines:
        for words, seen in CONSOLE_SIGNS:
            if words.search(line):
                notes.setdefault(seen, Note(at, seen, f'{told} "{line.strip()}"'))
    return list(notes.values())


@dataclass(frozen=True)
class Mark(Record):
    """A mark of the legend, what was seen for it, and when."""

    name: str = field(metadata=stored(name="mark"))
    seen: str
    at_ns: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with the legend's words."""
        return {"mark": self.name, "meaning": MARKS[self.name], **super().as_dict()}


@dataclass
class Outcome(Record):
    """Success or failure, the marks beside it, and what was seen for each."""

    captured: bool
    """Whether a complete dump was saved, by whatever means."""
    marks: list[str] = field(default_factory=list, metadata=NOT_STORED)
    reason: str = ""
    evidence: list[str] = field(default_factory=list, metadata=stored(LIST))
    success: bool | None = field(default=None, metadata=NOT_STORED)
    """The letter, where it is not that of `captured`."""
    recovered: bool = False
    """Whether the system survived the failure and still worked, so that no dump was needed."""
    details: list[Mark] = field(default_factory=list, metadata=stored(each(Mark), name="marks"))
    timeline: list[Note] = field(default_factory=list, metadata=stored(each(Note)))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with letter and marks as ``outcome``."""
        return {"outcome": str(self), **super().as_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The outcome of `as_dict`."""
        outcome = super().from_dict(data)
        outcome.marks = [mark.name for mark in outcome.details]
        outcome.success = data["outcome"].startswith("O")
        return outcome

    @property
    def ok(self) -> bool:
        """Whether the letter is O."""
        return self.captured if self.success is None else self.success

    def mark(self, name: str, seen: str, at_ns: int | None = None) -> None:
        """Add a mark of the legend with the observation behind it; KeyError for an unknown one."""
        if name not in MARKS:
            raise KeyError(name)
        self.marks.append(name)
        self.details.append(Mark(name, seen, at_ns))
        self.evidence.append(f"{name}: {seen}")

    def __str__(self) -> str:
        letter = "O" if self.ok else "X"
        return f"{letter} ({', '.join(self.marks)})" if self.marks else letter


def name_outcome(notes: Sequence[Note]) -> Outcome:
    """The outcome of a run of which `notes` were taken, in any order."""
    timeline = sorted(notes, key=lambda note: note.at_ns)
    first: dict[Seen, Note] = {}
    for note in timeline:
        first.setdefault(note.seen, note)
    outcome = Outcome(Seen.DUMP_SAVED in first, timeline=timeline)
    outcome.recovered = Seen.RECOVERED in first
    by_sysrq = _before(first, Seen.SYSRQ_PRESSED, Seen.HANDED_OVER) and _before(
        first, Seen.SYSRQ_TAKEN, Seen.HANDED_OVER
    )
    errors = [first[seen] for seen in (Seen.OOPS, Seen.PANIC) if _before(first, seen, Seen.NMI_WATCHDOG)]
    by_watchdog = bool(errors) and _before(first, Seen.NMI_WATCHDOG, Seen.HANDED_OVER) and not by_sysrq
    on_reboot = Seen.REBOOT_HANGS in first and _before(first, Seen.HANDED_OVER, Seen.NMI_WATCHDOG)
    detected = Seen.SOFT_LOCKUP in first or Seen.NMI_WATCHDOG in first
    for name, seen in (("det", Seen.SOFT_LOCKUP), ("log", Seen.NO_LOGIN), ("unk", Seen.UNKILLABLE)):
        if _before(first, seen, Seen.SYSRQ_PRESSED) and not (name == "log" and detected):
            outcome.mark(name, str(first[seen]), first[seen].at_ns)
    if by_watchdog:
        seen_first, watchdog = errors[0], first[Seen.NMI_WATCHDOG]
        outcome.mark("nmiw", f"{seen_first}; {watchdog}", watchdog.at_ns)
    if by_sysrq and (outcome.captured or Seen.CAPTURE_STARTED in first):
        pressed = first[Seen.SYSRQ_PRESSED]
        outcome.mark("SysRq", f"{pressed}; {first[Seen.SYSRQ_TAKEN]}", pressed.at_ns)
    if Seen.CAPTURE_STARTED in first and not outcome.captured:
        outcome.mark("2c", f"{first[Seen.CAPTURE_STARTED]}; {timeline[-1]}", first[Seen.CAPTURE_STARTED].at_ns)
    if Seen.REBOOT_HANGS in first:
        outcome.mark("nrbt", str(first[Seen.REBOOT_HANGS]), first[Seen.REBOOT_HANGS].at_ns)
    if on_reboot and outcome.captured:
        outcome.mark("nmiw", str(first[Seen.NMI_WATCHDOG]), first[Seen.NMI_WATCHDOG].at_ns)
    if outcome.captured:
        outcome.success = not (by_sysrq or by_watchdog)
    else:
        outcome.success = (outcome.recovered or Seen.NO_EFFECT in first) and Seen.HANDED_OVER not in first
    return outcome


def _before(first: dict[Seen, Note], earlier: Seen, later: Seen) -> bool:
    """Both were seen, `earlier` no later than `later`."""
    return earlier in first and later in first and first[earlier].at_ns <= first[later].at_ns
