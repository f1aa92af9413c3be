# SPDX-License-Identifier: GPL-2.0-or-later
"""The result of a run as plain data, and its file result.json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdumpsim._version import __version__
from kdumpsim.files import atomic_file
from kdumpsim.lkdtt.outcome import Mark, Note, Outcome
from kdumpsim.runs.events import Phase
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.vmcore.compare import Change, Difference, DmaChange, Judgement
from kdumpsim.vmcore.oracle import RanOn
from kdumpsim.vmcore.registers import RegisterCheck


@dataclass
class Result:
    """All that is known of a run when it is over."""

    scenario: Scenario
    outcome: Outcome
    phases: list[Phase] = field(default_factory=list)
    judgement: Judgement | None = None
    vmcore_sha256: str | None = None
    """None without a dump, and where nobody wanted to know."""
    vmcore_bytes: int = 0
    """0 without a dump."""
    ran_on: list[RanOn] = field(default_factory=list)
    """CPUs that nothing had stopped when another handed over ."""
    version: str = __version__
    """Of the kdumpsim that ran it."""

    def as_dict(self) -> dict[str, Any]:
        """The object of result.json and of ``--json``; fractions of 1, times in ns (virtual) and s (host)."""
        judgement, dumped = self.judgement, bool(self.vmcore_bytes or self.vmcore_sha256)
        return {
            "kdumpsim": self.version,
            "outcome": str(self.outcome),
            "captured": self.outcome.captured,
            "reason": self.outcome.reason,
            "crash_point": self.scenario.crash_point,
            "crash_type": self.scenario.crash_type,
            "seed": self.scenario.seed,
            "accuracy": judgement.accuracy if judgement else None,
            "completeness": judgement.completeness if judgement else None,
            "pages": judgement.pages if judgement else None,
            "options": self.scenario.to_dict(),
            "command": self.scenario.command(),
            "vmcore": {"sha256": self.vmcore_sha256, "bytes": self.vmcore_bytes} if dumped else None,
            "registers": [check.as_dict() for check in judgement.registers] if judgement else [],
            "differences": [difference.as_dict() for difference in judgement.differences] if judgement else [],
            "changed_by_crash_path": [change.as_dict() for change in judgement.crash_path] if judgement else [],
            "changed_by_dma": [change.as_dict() for change in judgement.dma] if judgement else [],
            "ran_on": [ran.as_dict() for ran in self.ran_on],
            "phases": [phase.as_dict() for phase in self.phases],
            "evidence": self.outcome.evidence,
            "recovered": self.outcome.recovered,
            "marks": [mark.as_dict() for mark in self.outcome.details],
            "timeline": [note.as_dict() for note in self.outcome.timeline],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Result:
        """The result of `as_dict`, as result.json has it.

        ScenarioError where its scenario can no longer be; KeyError for what a result.json of another version lacks.
        """
        pages, vmcore = data["pages"], data["vmcore"]
        details = [Mark.from_dict(mark) for mark in data["marks"]]
        outcome = Outcome(
            data["captured"],
            [mark.name for mark in details],
            data["reason"],
            list(data["evidence"]),
            data["outcome"].startswith("O"),
            data["recovered"],
            details,
            [Note.from_dict(note) for note in data["timeline"]],
        )
        judgement = (
            None
            if pages is None
            else Judgement(
                pages["ram"],
                pages["present"],
                pages["equal"],
                [Difference.from_dict(part) for part in data["differences"]],
                [Change.from_dict(part) for part in data["changed_by_crash_path"]],
                [DmaChange.from_dict(part) for part in data["changed_by_dma"]],
                registers=[RegisterCheck.from_dict(part) for part in data["registers"]],
            )
        )
        return cls(
            Scenario.from_dict(data["options"]),
            outcome,
            [Phase.from_dict(phase) for phase in data["phases"]],
            judgement,
            vmcore["sha256"] if vmcore else None,
            vmcore["bytes"] if vmcore else 0,
            [RanOn.from_dict(part) for part in data["ran_on"]],
            data["kdumpsim"],
        )

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
