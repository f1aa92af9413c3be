# SPDX-License-Identifier: GPL-2.0-or-later
"""What the machine itself keeps between two slices: whose turn it is, who is ahead, and whether reset was pulled."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kdumpsim.board.jitter import Jitter


@dataclass
class PendingRound:
    """What is left of a round that was cut."""

    first: int  # the CPU whose turn was cut; those before it have had theirs
    end: int  # ns
    ran: list[int]  # the CPUs that had a turn before it


class Schedule:
    """The state of the rounds (see `machine.py`). `jitter` is drawn from for rounds of several CPUs and for seeks."""

    name = "schedule"

    def __init__(self, cpus: int, seed: int) -> None:
        self.jitter = Jitter(seed)
        self.lead = [0] * cpus
        """Nanoseconds each CPU has run past the clock's base."""
        self.alone = False
        """The running CPU is the only one that can."""
        self.tsc_word = memoryview(bytearray(8)).cast("q")
        """`tsc`, where CPUs read it without asking (`cpu.Shortcuts`)."""
        self.tsc = -1
        self.pending: PendingRound | None = None
        self.reset_cause: str | None = None
        self.reset_ns = 0
        """When somebody pulled the reset line."""

    @property
    def tsc(self) -> int:
        """What was read of the time stamp counter last, by whichever CPU."""
        return int(self.tsc_word[0])

    @tsc.setter
    def tsc(self, ns: int) -> None:
        self.tsc_word[0] = ns

    def reset(self) -> None:
        """No CPU is ahead any more. Times and the stream of jitter go on."""
        self.lead[:] = [0] * len(self.lead)
        self.pending = None
        self.reset_cause = None

    def state(self) -> dict[str, Any]:
        return {
            "jitter": self.jitter.state,
            "lead": list(self.lead),
            "alone": self.alone,
            "tsc": self.tsc,
            "pending": None if self.pending is None else asdict(self.pending),
            "reset_cause": self.reset_cause,
            "reset_ns": self.reset_ns,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.jitter.state = state["jitter"]
        self.lead[:] = state["lead"]
        self.alone, self.tsc = state["alone"], state["tsc"]
        pending = state["pending"]
        self.pending = None if pending is None else PendingRound(pending["first"], pending["end"], list(pending["ran"]))
        self.reset_cause, self.reset_ns = state["reset_cause"], state["reset_ns"]
