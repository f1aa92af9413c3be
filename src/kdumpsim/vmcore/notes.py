# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose registers are they?  A vmcore's notes do not say: they are merged, and a CPU without a note leaves no gap.

In memory each CPU has an area for its notes, which it told the host of; the dump has these
areas, too, so each note of the file can be led back to one.  And a CPU whose ``thread_info`` was overwritten may take
itself for another and write into that one's area; the oracle saw who wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .oracle import Oracle
from .reader import PrStatus, Vmcore


@dataclass(frozen=True)
class CpuNote:
    """An NT_PRSTATUS note of the dump."""

    thread: int
    """Its place in the file, from 1: gdb's number for it."""
    area: int | None
    """The CPU whose area in memory it was copied from; None if it lies in none."""
    writer: int | None
    """The CPU that wrote it."""
    status: PrStatus


def cpu_notes(vmcore: Vmcore, oracle: Oracle) -> list[CpuNote]:
    """The dump's registers, each with whose they are, in the order of the file."""
    merged = vmcore.cpus
    areas: list[int | None] = [None] * len(merged)
    at = 0
    for cpu, area in enumerate(oracle.notes):
        for status in vmcore.cpus_at(area.start, area.end - area.start):
            if status in merged[at:]:
                at = merged.index(status, at) + 1
                areas[at - 1] = cpu
    return [
        CpuNote(number, area, _writer(area, oracle), status)
        for number, (area, status) in enumerate(zip(areas, merged, strict=True), 1)
    ]


def _writer(area: int | None, oracle: Oracle) -> int | None:
    """Who wrote last into a CPU's area: that CPU itself, as far as nobody was seen doing it."""
    return next((save.cpu for save in reversed(oracle.saves) if save.number == area), area)


def note_of(cpu: int, notes: Sequence[CpuNote]) -> CpuNote | None:
    """The note that a CPU wrote last."""
    return next((note for note in reversed(notes) if note.writer == cpu), None)
