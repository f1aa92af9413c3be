# SPDX-License-Identifier: GPL-2.0-or-later
"""A timeline as rows of characters: what each CPU was at for most of the time that a column stands for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from kdumpsim.runs.timeline import CONSOLE, DMA, EVENTS, HALTS, MACHINE, SOFTIRQ, TASKS, Span

IDLE: Final = "swapper"
"""The idle tasks' name."""
NMI: Final = "NMI"
SYSTEM_CALL: Final = "vector 0x80"

GLYPHS: Final = {
    "": " ", "idle": "-", "task": "=", "halt": "·", "call": "s", "softirq": "o", "irq": "i", "fault": "F", "nmi": "N",
}  # fmt: skip
"""What a kind is drawn as; a later one is drawn over earlier ones, if it took enough of a column."""
MEANING: Final = {
    "halt": "halted", "idle": "idle task", "task": "task", "call": "system call", "softirq": "softirq",
    "irq": "interrupt", "fault": "exception", "nmi": "NMI",
}  # fmt: skip
_SHARE: Final = 0.2
"""Of a column, that something has to take to be drawn over what it interrupted."""
_UNDER: Final = ("idle", "task", "halt")
"""Kinds of which the larger share counts."""


@dataclass(frozen=True)
class Strip:
    """A row: its name, and a kind for each column."""

    name: str
    cells: tuple[str, ...]


def kind_of(span: Span) -> str:
    """What a span is drawn as; empty: not at all."""
    if span.track in (HALTS, SOFTIRQ):
        return "halt" if span.track == HALTS else "softirq"
    if span.track == TASKS:
        return "idle" if span.name == IDLE else "task"
    if span.track == EVENTS:
        if span.name == NMI:
            return "nmi"
        if span.name.startswith("#"):
            return "fault"
        return "call" if span.name == SYSTEM_CALL else "irq"
    return ""


def strips(spans: Iterable[Span], cpus: int, begin: int, end: int, columns: int) -> list[Strip]:
    """The CPUs, then DMA and the console, from one time (ns) to another."""
    step = max(end - begin, 1) / columns
    shares: list[list[dict[str, float]]] = [[{} for _ in range(columns)] for _ in range(cpus)]
    marks: dict[str, list[str]] = {DMA: [""] * columns, CONSOLE: [""] * columns}
    for span in spans:
        if span.end < begin or span.begin >= end:
            continue
        if span.process == MACHINE:
            if span.track in marks and begin <= span.begin:
                marks[span.track][_column(span.begin, begin, step, columns)] = span.track
            continue
        kind = kind_of(span)
        if not kind:
            continue
        row = shares[int(span.process.removeprefix("CPU "))]
        first = _column(max(span.begin, begin), begin, step, columns)
        for column in range(first, _column(min(span.end, end), begin, step, columns) + 1):
            low = begin + column * step
            share = (min(span.end, low + step) - max(span.begin, low)) / step
            row[column][kind] = row[column].get(kind, 0.0) + max(share, 0.0)
    rows = [Strip(f"CPU {index}", tuple(map(_drawn, row))) for index, row in enumerate(shares)]
    return rows + [Strip(name, tuple(cells)) for name, cells in marks.items()]


def _column(ns: int, begin: int, step: float, columns: int) -> int:
    return min(max(int((ns - begin) / step), 0), columns - 1)


def _drawn(shares: dict[str, float]) -> str:
    found = ""
    for kind in GLYPHS:
        share = shares.get(kind, 0.0)
        enough = max(shares.get(found, 0.0) / 2, _SHARE) if kind in _UNDER else _SHARE
        if share >= enough:
            found = kind
    return found


def window(now: int, total: int, zoom: int) -> tuple[int, int]:
    """Begin and end (ns) of what a zoom of 0, 1, 2, … shows: all of the run, then a quarter of the last around now."""
    width = max(total >> 2 * zoom, 1000)
    begin = min(max(now - width // 2, 0), max(total - width, 0))
    return begin, begin + width


def most_zoomed(total: int) -> int:
    """The zoom at which a column is less than a microsecond."""
    zoom = 0
    while total >> 2 * zoom > 100_000:
        zoom += 1
    return zoom


def column_of(ns: int, begin: int, end: int, columns: int) -> int | None:
    """The column of a time; None outside."""
    return _column(ns, begin, max(end - begin, 1) / columns, columns) if begin <= ns <= end else None


def legend(rows: Sequence[Strip]) -> str:
    """The glyphs that occur, and what they mean."""
    used = {cell for row in rows for cell in row.cells}
    return "  ".join(f"{GLYPHS[kind]} {text}" for kind, text in MEANING.items() if kind in used)
