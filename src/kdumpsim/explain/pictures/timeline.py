# SPDX-License-Identifier: GPL-2.0-or-later
"""A run's timeline: drawn around the crash, and as data for a page in which it can be zoomed (timeline.js)."""

from __future__ import annotations

import json
from typing import Any

from kdumpsim.explain.pictures.lanes import LINE_HEIGHT, Lane, Lanes, lanes_of
from kdumpsim.explain.pictures.recorder import CRASH, JUMP, Record
from kdumpsim.explain.pictures.svg import SMALL, Drawing, Svg, plural, width_of

WIDTH, LEFT, RIGHT, TOP, SPACE = 960, 130, 14, 112, 3
NAME = "timeline"
BEFORE_NS, LEAST_NS, MOST_NS = 2_000_000, 4_000_000, 60_000_000
"""The window around the crash: before it, and how long it is at least and at most."""
TICKS = 8
LEAST_ROOM = 160
"""px to the right of a console line; with less, it is to the left."""


def figures(record: Record) -> list[Drawing]:
    """One picture, and one of the whole run."""
    lanes = lanes_of(record)
    begin, end = window(lanes)
    around = "the crash" if lanes.mark(CRASH) is not None else "the end of the run"
    title = f"Timeline around {around}"
    caption = f"At first from {_seconds(begin)} to {_seconds(end)} of virtual time."
    if lanes.left_out:
        caption += f" {plural(lanes.left_out, 'short stretch')} far from the crash were left out of the page."
    whole = "Timeline of the run"
    return [
        Drawing(NAME, title, caption, str(draw(lanes, begin, end, title)), json.dumps(data(lanes, begin, end))),
        Drawing("timeline-run", whole, f"{_seconds(lanes.end)} of virtual time.",
                str(draw(lanes, lanes.begin, lanes.end, whole))),
    ]  # fmt: skip


def window(lanes: Lanes) -> tuple[int, int]:
    """What is shown first: from before the crash to after the hand-over."""
    crash, jump = lanes.mark(CRASH), lanes.mark(JUMP)
    if crash is None:
        return max(lanes.end - MOST_NS, 0), max(lanes.end, 1)
    after = (jump if jump is not None else crash) - crash
    length = min(max(after * 5 // 4, LEAST_NS), MOST_NS)
    if lanes.end - crash <= MOST_NS:
        length = lanes.end - crash
    return max(crash - BEFORE_NS, 0), min(crash + length, max(lanes.end, crash + 1))


def draw(lanes: Lanes, begin: int, end: int, title: str) -> Svg:
    """The lanes between two times."""
    height = TOP + sum(lane.height + space_above(lane) for lane in lanes.lanes) + 12
    svg = Svg(WIDTH, height, title, "Lanes of CPUs, devices and the console over virtual time")
    svg.text(20, 24, title, "h")
    with svg.group(class_="view"):
        _axis(svg, begin, end, height)
        y = TOP
        for lane in lanes.lanes:
            y += space_above(lane)
            svg.text(LEFT - 8, y + lane.height / 2 + 4 if not lane.text else y + 10, lane.label,
                     "b s" if lane.first else "s", "end")  # fmt: skip
            (_lines if lane.text else _lane)(svg, lane, y, begin, end)
            y += lane.height
        _marks(svg, lanes, begin, end, height)
    return svg


def space_above(lane: Lane) -> int:
    """Between a lane and the one above it."""
    return 3 * SPACE if lane.first else SPACE


def _x(time: int, begin: int, end: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (time - begin) / max(end - begin, 1)


def _axis(svg: Svg, begin: int, end: int, height: float) -> None:
    step = tick_step(end - begin)
    at = -(-begin // step) * step
    while at <= end:
        x = _x(at, begin, end)
        svg.line(x, TOP - 6, x, height - 10, "grid")
        if x < WIDTH - 40:
            svg.text(x, TOP - 10, _seconds(at), "s", "middle")
        at += step


def tick_step(length: int) -> int:
    """ns between marks of the axis: 1, 2 or 5 of a power of ten."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if step * factor * TICKS >= length:
                return step * factor
        step *= 10


def _lane(svg: Svg, lane: Lane, y: float, begin: int, end: int) -> None:
    last = labelled = -1.0
    for bar in lane.bars:
        if bar.end < begin or bar.begin > end:
            continue
        x, right = max(_x(bar.begin, begin, end), LEFT), min(_x(bar.end, begin, end), WIDTH - RIGHT)
        if right - x < 1 and x - last < 0.7:
            continue  # there is no room for it beside the one before
        last = x
        tip = f"{bar.name}: {_seconds(bar.begin)}" + (f" to {_seconds(bar.end)}" if bar.end > bar.begin else "")
        svg.rect(x, y, max(right - x, 1), lane.height, bar.kind, f"{tip} {bar.tip}".strip(),
                 begin=bar.begin, end=bar.end, name=bar.name)  # fmt: skip
        if right - x > 34 and lane.height > 12 and x >= labelled:
            labelled = min(x + 8 + width_of(bar.name, SMALL), right)
            kind = "onirq" if bar.kind == "irq" else "on" if bar.kind in SOLID else "s"
            svg.text(x + 4, y + lane.height - 3, bar.name, kind, room=right - x - 6)


def _lines(svg: Svg, lane: Lane, y: float, begin: int, end: int) -> None:
    """Each in the first row where it finds room."""
    rows = [0.0] * max(lane.height // LINE_HEIGHT, 1)
    for bar in lane.bars:
        if not begin <= bar.begin <= end:
            continue
        x = _x(bar.begin, begin, end)
        fits = WIDTH - RIGHT - x - 4 >= min(width_of(bar.name, SMALL), LEAST_ROOM)
        first = x if fits else x - width_of(bar.name, SMALL) - 10
        row = next((row for row, taken in enumerate(rows) if taken <= first), None)
        if row is None:
            continue
        rows[row] = x + width_of(bar.name, SMALL) + 10
        top = y + LINE_HEIGHT * row
        svg.rect(x, top, 1.5, LINE_HEIGHT - 2, "new", f"{_seconds(bar.begin)} {bar.name}", begin=bar.begin)
        if fits:
            svg.text(x + 4, top + 10, bar.name, "s", room=WIDTH - RIGHT - x - 4)
        else:
            svg.text(x - 4, top + 10, bar.name, "s", "end")


SOLID = ("nmi", "fault", "timer", "event", "soft")
"""Kinds that are dark, so that letters on them are light."""


def _marks(svg: Svg, lanes: Lanes, begin: int, end: int, height: float) -> None:
    ends = [-1.0] * 4
    for mark in lanes.marks:
        if not begin <= mark.time_ns <= end:
            continue
        x = _x(mark.time_ns, begin, end)
        before = x + 8 * len(mark.name) + 8 > WIDTH
        first = x - 8 * len(mark.name) - 8 if before else x
        row = next((row for row, taken in enumerate(ends) if taken < first), 0)
        ends[row] = x if before else x + 8 * len(mark.name) + 8
        with svg.group(data_mark=mark.name, data_time=str(mark.time_ns)):
            svg.line(x, 34 + 14 * row, x, height - 10, mark.kind)
            kind = "hot" if mark.kind == "crash" else "s"
            svg.text(x - 4 if before else x + 4, 44 + 14 * row, mark.name, kind, "end" if before else "")


def _seconds(ns: int) -> str:
    return f"{ns / 1e9:.6f}".rstrip("0").rstrip(".") + " s"


def data(lanes: Lanes, begin: int, end: int) -> dict[str, Any]:
    """For the page's script; names and tips are numbers in a list of texts."""
    texts: dict[str, int] = {}

    def text(words: str) -> int:
        return texts.setdefault(words, len(texts))

    rows = [
        {
            "label": lane.label, "height": lane.height, "text": lane.text, "first": lane.first,
            "bars": [[bar.begin, bar.end, text(bar.name), text(bar.kind), text(bar.tip)] for bar in lane.bars],
        }
        for lane in lanes.lanes
    ]  # fmt: skip
    return {
        "begin": lanes.begin, "end": lanes.end, "window": [begin, end], "lanes": rows,
        "marks": [[mark.time_ns, mark.name, mark.kind] for mark in lanes.marks], "texts": list(texts),
        "frame": {"width": WIDTH, "left": LEFT, "right": RIGHT, "top": TOP, "space": SPACE, "solid": SOLID,
                  "room": LEAST_ROOM},
    }  # fmt: skip
