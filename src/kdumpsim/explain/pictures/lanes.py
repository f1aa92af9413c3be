# SPDX-License-Identifier: GPL-2.0-or-later
"""A run's timeline as lanes: what is drawn in them, and when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kdumpsim.explain.pictures.recorder import CRASH, END, JUMP, Record
from kdumpsim.runs.timeline import CONSOLE, DMA, EVENTS, HALTS, MACHINE, PHASES, SLEPT, SOFTIRQ, TASKS, WRITTEN, Span

DEEPEST = 4
"""Rows of nested events; what is deeper shares the last."""
MOST_SPANS = 60_000
"""In a page; a run with more is thinned out far from the crash."""
LINE_ROWS, LINE_HEIGHT = 5, 14
"""Of console lines, which take more room than time: what finds none is left out."""


@dataclass(frozen=True)
class Bar:
    """Something in a lane; times in virtual ns."""

    begin: int
    end: int
    name: str
    kind: str
    """How it is drawn: a class of the style."""
    tip: str = ""
    """What there is to say beside its name."""


@dataclass(frozen=True)
class Lane:
    """A row."""

    label: str
    height: int
    bars: tuple[Bar, ...]
    first: bool = False
    """With it something else begins: a CPU, the devices, the console."""
    text: bool = False
    """Its bars are instants with words, rather than stretches."""


@dataclass(frozen=True)
class Mark:
    """A milestone."""

    time_ns: int
    name: str
    kind: str


@dataclass(frozen=True)
class Lanes:
    """All of it."""

    begin: int
    end: int
    lanes: tuple[Lane, ...]
    marks: tuple[Mark, ...]
    left_out: int = 0
    """Bars that were too many."""

    def mark(self, name: str) -> int | None:
        """When a milestone was."""
        return next((mark.time_ns for mark in self.marks if mark.name == name), None)


def lanes_of(record: Record) -> Lanes:
    """The lanes of a run: CPUs, then devices, then the console."""
    spans, left_out = _not_too_many(record)
    end = max([record.session.now, *(span.end for span in spans)])
    lanes: list[Lane] = []
    for cpu in record.session.machine.cpus:
        lanes += _cpu(f"CPU {cpu.index}", [span for span in spans if span.process == f"CPU {cpu.index}"])
    lanes += _devices([span for span in spans if span.track == DMA])
    lanes.append(_phases([span for span in spans if span.track == PHASES and span.end > span.begin]))
    lanes.append(_console([span for span in spans if span.track == CONSOLE]))
    return Lanes(0, end, tuple(lane for lane in lanes if lane.bars), tuple(_marks(record)), left_out)


def _not_too_many(record: Record) -> tuple[Sequence[Span], int]:
    """The spans, without the shortest of those far from the crash if there are too many of them."""
    spans = record.spans
    if len(spans) <= MOST_SPANS:
        return spans, 0
    moment = record.moments.get(CRASH)
    centre = moment.instant.time_ns if moment is not None else record.session.now

    def weight(span: Span) -> float:
        return (span.end - span.begin + 1) / (1 + abs(span.begin - centre))

    kept = sorted(sorted(spans, key=weight)[-MOST_SPANS:], key=lambda span: span.begin)
    return kept, len(spans) - len(kept)


def _marks(record: Record) -> Iterator[Mark]:
    for moment in record.order:
        kind = "crash" if moment.name in (CRASH, JUMP) else "axis"
        if moment.name != END:
            yield Mark(moment.instant.time_ns, moment.name, kind)


def _cpu(name: str, spans: Sequence[Span]) -> Iterator[Lane]:
    yield Lane(f"{name}: tasks", 16, tuple(_bars(spans, TASKS, "first")), first=True)
    events = sorted((span for span in spans if span.track in (EVENTS, SLEPT)), key=lambda span: (span.begin, -span.end))
    rows: list[list[Bar]] = [[] for _ in range(DEEPEST)]
    ends: list[int] = []
    for span in events:
        if span.track == SLEPT:
            continue
        while ends and ends[-1] <= span.begin:
            ends.pop()
        rows[min(len(ends), DEEPEST - 1)].append(Bar(span.begin, span.end, span.name, _kind(span.name)))
        ends.append(span.end)
    for depth, row in enumerate(rows):
        deeper = " on" if depth == DEEPEST - 1 else ""
        yield Lane(f"nested, depth {depth}{deeper}" if depth else "interrupts, faults", 13, tuple(row))
    slept = [Bar(span.begin, span.end, span.name, _kind(span.name), SLEPT) for span in events if span.track == SLEPT]
    yield Lane("calls that slept", 10, tuple(slept))
    yield Lane("softirqs", 13, tuple(_bars(spans, SOFTIRQ, "soft")))
    yield Lane("halted", 9, tuple(_bars(spans, HALTS, "hole")))


def _kind(name: str) -> str:
    """How an event is drawn, by what its vector stands for."""
    if name == "NMI":
        return "nmi"
    if name.startswith("#"):
        return "fault"
    if name.startswith("IRQ"):
        return "irq"
    return "timer" if name == "local timer" else "event"


def _bars(spans: Iterable[Span], track: str, kind: str) -> Iterator[Bar]:
    return (Bar(span.begin, span.end, span.name, kind) for span in spans if span.track == track)


def _devices(spans: Sequence[Span]) -> Iterator[Lane]:
    for number, device in enumerate(sorted({str(span.what["device"]) for span in spans})):
        bars = [Bar(span.begin, span.end, span.name, "fault" if span.name == WRITTEN else "event",
                    f"{span.what['bytes']:,} bytes, first at {span.what['physical address']}")
                for span in spans if span.what["device"] == device]  # fmt: skip
        yield Lane(f"DMA of {device or 'a device'}", 13, tuple(bars), first=number == 0)


def _phases(spans: Sequence[Span]) -> Lane:
    bars = [Bar(span.begin, span.end, span.name, "free", str(span.what.get("detail", ""))) for span in spans]
    return Lane(f"{MACHINE}: phases", 16, tuple(bars), first=True)


def _console(spans: Sequence[Span]) -> Lane:
    bars = [Bar(span.begin, span.end, span.name, "axis") for span in spans]
    return Lane(CONSOLE, LINE_ROWS * LINE_HEIGHT, tuple(bars), first=True, text=True)
