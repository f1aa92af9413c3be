# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of a run, in the legend of the LKDTT paper (section 4).

``O`` a dump was captured, ``X`` it was not; marks in brackets say more.  A mark is given only for
something that was observed, and the observation is kept beside it as evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MARKS: dict[str, str] = {
    "2c": "control reached the capture kernel, but it did not bring a dump home",
    "nrbt": "the dump was captured, but the machine did not reboot afterwards",
}


@dataclass
class Outcome:
    """Success or failure, the marks beside it, and what was seen for each."""

    captured: bool
    marks: list[str] = field(default_factory=list)
    reason: str = ""
    evidence: list[str] = field(default_factory=list)

    def mark(self, name: str, seen: str) -> None:
        """Add a mark of the legend with the observation behind it; KeyError for an unknown one."""
        if name not in MARKS:
            raise KeyError(name)
        self.marks.append(name)
        self.evidence.append(f"{name}: {seen}")

    def __str__(self) -> str:
        letter = "O" if self.captured else "X"
        return f"{letter} ({', '.join(self.marks)})" if self.marks else letter
