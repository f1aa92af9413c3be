# SPDX-License-Identifier: GPL-2.0-or-later
"""The result of a run as plain data, and its file result.json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from kdumpsim._version import __version__
from kdumpsim.faults.strikes import Struck
from kdumpsim.files import atomic_file
from kdumpsim.lkdtt.effect import Effect
from kdumpsim.lkdtt.outcome import Outcome
from kdumpsim.records import NOT_STORED, Form, Record, each, optional, record, stored
from kdumpsim.runs.calls import Crash
from kdumpsim.runs.events import Phase
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.vmcore.compare import Judgement
from kdumpsim.vmcore.oracle import Oracle, RanOn

_ABSENT: dict[str, Any] = {"accuracy": None, "completeness": None, "pages": None, "registers": [], "differences": [],
                           "changed_by_crash_path": [], "changed_by_dma": [], "changed_before_handed": []}  # fmt: skip
"""What result.json says in a judgement's place where there is none."""


@dataclass(frozen=True)
class DumpFile(Record):
    """The file that a dump was."""

    sha256: str | None
    """None where it was not asked for."""
    bytes: int


@dataclass(frozen=True)
class Failover(Record):
    """The notice of its crash that a kernel sent to a peer (kernel option failover)."""

    latency_ns: int
    """From the crash until the peer had it."""
    message: str

    @classmethod
    def of(cls, oracle: Oracle, notices: Iterable[tuple[int, bytes]]) -> Failover | None:
        """The first of the peer's `notices` (time, text) that came after the crash; None if none did."""
        crash = oracle.led_to_dump
        for time_ns, text in notices:
            if crash is not None and time_ns >= crash.time_ns:
                return cls(time_ns - crash.time_ns, text.rstrip(b"\0").decode("ascii", "replace"))
        return None


@dataclass
class Result(Record):
    """All that is known of a run when it is over."""

    scenario: Scenario = field(metadata=stored(Form(Scenario.to_dict, Scenario.from_dict), name="options"))
    outcome: Outcome = field(metadata=NOT_STORED)
    phases: list[Phase] = field(default_factory=list, metadata=stored(each(Phase)))
    judgement: Judgement | None = field(default=None, metadata=NOT_STORED)
    vmcore: DumpFile | None = field(default=None, metadata=stored(optional(record(DumpFile))))
    """None without a dump that is a file."""
    ran_on: list[RanOn] = field(default_factory=list, metadata=stored(each(RanOn)))
    """CPUs that nothing had stopped when another handed over."""
    crash: Crash | None = field(default=None, metadata=stored(optional(record(Crash))))
    """None if the kernel did not begin to die."""
    failover: Failover | None = field(default=None, metadata=stored(optional(record(Failover))))
    """None without a notice."""
    struck: list[Struck] = field(default_factory=list, metadata=stored(each(Struck)))
    """What struck other than at a crash point."""
    effect: Effect | None = field(default=None, metadata=stored(optional(record(Effect))))
    """What came of it, in a word."""
    asked: str | None = None
    """The command that left something to chance; the scenario has what was drawn."""
    version: str = field(default=__version__, metadata=stored(name="kdumpsim"))
    """Of the kdumpsim that ran it."""

    def as_dict(self) -> dict[str, Any]:
        """The object of result.json and of ``--json``; fractions of 1, times in ns (virtual) and s (host).

        The parts of outcome and judgement stand beside the result's own, after what a reader looks for first.
        """
        scenario, judgement, own = self.scenario, self.judgement, super().as_dict()
        shares = {} if judgement is None else {"accuracy": judgement.accuracy, "completeness": judgement.completeness}
        return {
            "kdumpsim": own.pop("kdumpsim"),
            **self.outcome.as_dict(),
            "crash_point": scenario.crash_point,
            "crash_type": scenario.crash_type,
            "seed": scenario.seed,
            "command": scenario.command(),
            **_ABSENT,
            **shares,
            **({} if judgement is None else judgement.as_dict()),
            **own,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The result of `as_dict`, as result.json has it.

        ScenarioError where its scenario can no longer be; KeyError for what a result.json of another version lacks.
        """
        own = cls.stored_values(data)
        judgement = None if data["pages"] is None else Judgement.from_dict(data)
        return cls(outcome=Outcome.from_dict(data), judgement=judgement, **own)

    def dumps(self) -> str:
        """The object as JSON text, ending in a newline."""
        return json.dumps(self.as_dict(), indent=2) + "\n"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all."""
    with atomic_file(path) as file:
        file.write(data)


def remove_stale(directory: Path, names: Iterable[str]) -> None:
    """Take away what an earlier run left, so that nothing of it can be taken for this run's."""
    for name in names:
        (directory / name).unlink(missing_ok=True)
