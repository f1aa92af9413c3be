# SPDX-License-Identifier: GPL-2.0-or-later
"""The states of a crash point (LKDTT paper, section 3.2.2 and figure 2), and the way that a run took through them.

What is recorded are calls of the DTT module's functions, each with the crash point's structure as it was then. The
paper's figure has a box for each state; "failure induced" is where the module crashes the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from kdumpsim.explain.pictures.svg import Drawing, Svg, plural
from kdumpsim.lkdtt.outcome import NS
from kdumpsim.runs.session import Session
from kdumpsim.scenario.points import CRASH_POINT
from kdumpsim.target import Call, call_of

REGISTER, SET, CROSSED, RESET, REMOVE, INDUCE = (
    "dtt_register", "dtt_set", "dtt_crossed", "dtt_reset", "dtt_remove", "dtt_induce",
)  # fmt: skip
OF_A_POINT = (REGISTER, SET, CROSSED, RESET)
"""Functions whose first argument is a crash point; the others come with its name."""
STATES = ("unregistered", "registered", "enabled", "disabled")
"""By number, as the structure has it."""
SURVIVED = "back from dtt_induce"
MOST = 20_000
_NAME_BYTES = 64


@dataclass(frozen=True)
class Seen:
    """A crash point's structure at a moment."""

    time_ns: int
    cpu: int | None
    called: str
    """The function that began then, or SURVIVED."""
    name: str
    state: str
    enabled: bool
    count: int


class PointWatch:
    """Takes down what happens to crash points in a session's first kernel."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._seen: list[Seen] = []
        self._latest: dict[str, int] = {}
        """Addresses of the structures, by name."""
        for function in OF_A_POINT:
            if function in session.first.symbols:
                session.machine.watch(session.first.symbols[function], partial(self._called, function))
        if INDUCE in session.first.symbols:
            session.machine.watch(session.first.symbols[INDUCE], self._induced)

    def _called(self, function: str, cpu: Any) -> None:
        (pointer,) = call_of(cpu.registers(), cpu.read_linear, arguments=1).arguments
        self._take(function, pointer, cpu)

    def _induced(self, cpu: Any) -> None:
        call = call_of(cpu.registers(), cpu.read_linear, arguments=2)
        name = self._text(call.arguments[1], cpu.read_linear)
        if name in self._latest:
            self._take(INDUCE, self._latest[name], cpu)
            self._session.machine.watch(call.back, partial(self._back, name, call))

    def _back(self, name: str, call: Call, cpu: Any) -> None:
        """Perhaps from that call."""
        if cpu.stack_pointer() == call.stack_after:
            self._take(SURVIVED, self._latest[name], cpu)

    @staticmethod
    def _text(pointer: int, read: Any) -> str:
        data = read(pointer, _NAME_BYTES) or b""
        return data.partition(b"\0")[0].decode("ascii", "replace")

    def _take(self, function: str, pointer: int, cpu: Any) -> None:
        data = cpu.read_linear(pointer, CRASH_POINT.form.size)
        if data is None or self._session.oracle.jump is not None or len(self._seen) >= MOST:
            return
        point = next(CRASH_POINT.entries(data))
        name = self._text(point["name"], cpu.read_linear)
        self._latest[name] = pointer
        state = STATES[point["state"]] if point["state"] < len(STATES) else f"state {point['state']}"
        self._seen.append(
            Seen(self._session.now, cpu.index, function, name, state, bool(point["enabled"]), point["count"])
        )

    def of(self, name: str) -> list[Seen]:
        """What was seen of a crash point."""
        return [seen for seen in self._seen if seen.name == name]


@dataclass(frozen=True)
class Edge:
    """A way from one box to another."""

    begin: str
    end: str
    label: str


@dataclass(frozen=True)
class Step:
    """An edge that was taken."""

    edge: Edge
    what: str
    time_ns: int
    cpu: int | None


INDUCED, DUMPED = "failure induced", "dump"
REGISTERS = Edge("unregistered", "registered", "register / ttutils add")
SETS = Edge("registered", "enabled", "ttutils set")
COUNTS = Edge("enabled", "enabled", "crossed: count down")
FAILS = Edge("enabled", INDUCED, "crossed: count is 0")
DUMPS = Edge(INDUCED, DUMPED, "unrecoverable")
RECOVERS = Edge(INDUCED, "disabled", "the kernel recovers")
AGAIN = Edge("disabled", "enabled", "ttutils set")
DISABLES = Edge("enabled", "disabled", "ttutils reset")
EDGES = (REGISTERS, SETS, COUNTS, FAILS, DUMPS, RECOVERS, AGAIN, DISABLES)


def path(seen: Sequence[Seen], dumped_ns: int | None) -> list[Step]:
    """The edges that were taken, in order; crossings that only counted are one.  `dumped_ns`: of the hand-over."""
    steps: list[Step] = []
    crossings: list[Seen] = []

    def counted() -> None:
        if crossings:
            first, last = crossings[0], crossings[-1]
            what = f"{plural(len(crossings), 'crossing')}, count {first.count} to {last.count - 1}"
            steps.append(Step(COUNTS, what, last.time_ns, last.cpu))
            crossings.clear()

    for each in seen:
        if each.called == CROSSED and each.count > 1:
            crossings.append(each)
            continue
        counted()
        if each.called == REGISTER:
            steps.append(Step(REGISTERS, "registered", each.time_ns, each.cpu))
        elif each.called == SET:
            edge = SETS if each.state == "registered" else AGAIN
            steps.append(Step(edge, "set", each.time_ns, each.cpu))
        elif each.called == RESET:
            steps.append(Step(DISABLES, "reset", each.time_ns, each.cpu))
        elif each.called == INDUCE:
            steps.append(Step(FAILS, "the count is 0", each.time_ns, each.cpu))
        elif each.called == SURVIVED:
            steps.append(Step(RECOVERS, "the kernel went on", each.time_ns, each.cpu))
    counted()
    if steps and steps[-1].edge is FAILS and dumped_ns is not None:
        steps.append(Step(DUMPS, "the dump mechanism has control", dumped_ns, None))
    return steps


BOXES = {
    "unregistered": (30, 90), "registered": (30, 190), "enabled": (280, 190), "disabled": (280, 310),
    INDUCED: (610, 190), DUMPED: (790, 310),
}  # fmt: skip
BOX_WIDTH, BOX_HEIGHT = 150, 44
WIDTH = 960


def figure(name: str, steps: Sequence[Step]) -> Drawing:
    """The diagram, with the way that was taken numbered."""
    title = f"States of crash point {name} (LKDTT paper, figure 2)"
    height = 400 + 18 * max(len(steps), 1) + 20
    legend = "boxes are states; thick arrows were taken in this run, in the order of their numbers"
    svg = Svg(WIDTH, height, title, legend)
    svg.text(20, 24, title, "h")
    svg.text(20, 44, legend, "s")
    reached = {step.edge.end for step in steps} | {step.edge.begin for step in steps}
    for state, (x, y) in BOXES.items():
        kind = "save" if state in reached else "free"
        svg.rect(x, y, BOX_WIDTH, BOX_HEIGHT, kind, name=state, reached=int(state in reached))
        svg.rect(x, y, BOX_WIDTH, BOX_HEIGHT, "box")
        svg.text(x + BOX_WIDTH / 2, y + 27, state, "b", "middle")
    for edge in EDGES:
        taken = [number for number, step in enumerate(steps, 1) if step.edge is edge]
        _arrow(svg, edge, taken)
    svg.text(20, 390, "the run's way", "b")
    for number, step in enumerate(steps, 1):
        cpu = f", CPU {step.cpu}" if step.cpu is not None else ""
        way = f"{step.edge.begin} to {step.edge.end}: {step.what}"
        svg.text(30, 394 + 18 * number, f"{number}. {step.time_ns / NS:.6f} s{cpu}: {way}", room=WIDTH - 60)
    if not steps:
        svg.text(30, 412, "nothing was seen of it", "s")
    caption = "Calls of the DTT module's functions, with the crash point's structure as it was at each."
    return Drawing("crash-point", title, caption, str(svg))


def _arrow(svg: Svg, edge: Edge, taken: Sequence[int]) -> None:
    kind = "arrow" if taken else "axis"
    label = f"{edge.label}{' — ' + ', '.join(map(str, taken)) if taken else ''}"
    (x, y), (x2, y2) = BOXES[edge.begin], BOXES[edge.end]
    words_kind, anchor = ("hot" if taken else "s"), ""
    at: tuple[float, float]
    if edge.begin == edge.end:
        points = [(x + 50, y + 0.0), (x + 50, y - 36), (x + 100, y - 36), (x + 100, y - 1)]
        at = x + 75, y - 44
        anchor = "middle"
    elif y == y2:
        points = [(x + BOX_WIDTH, y + 22.0), (x2 - 1, y2 + 22)]
        at = (x + BOX_WIDTH + x2) / 2, y + 14
        anchor = "middle"
    elif x == x2:
        lane = 50 if edge is AGAIN else 100
        down = y2 > y
        points = [(x + lane, y + BOX_HEIGHT if down else y), (x2 + lane, y2 - 1 if down else y2 + BOX_HEIGHT + 1)]
        at = (x + lane + 8, (y + y2) / 2 + 26)
        if edge is AGAIN:
            at, anchor = (x + lane - 8, (y + y2) / 2 + 26), "end"
    elif x < x2:
        points = [(x + BOX_WIDTH, y + 22.0), (x2 + 75, y + 22), (x2 + 75, y2 - 1)]
        at = (x2 + 75, y + 14)
        anchor = "middle"
    else:
        points = [(x + 75, y + BOX_HEIGHT + 0.0), (x + 75, y2 + 22), (x2 + BOX_WIDTH + 1, y2 + 22)]
        at = x2 + BOX_WIDTH + 40, y2 + 14
    with svg.group(data_edge=f"{edge.begin} to {edge.end}", data_taken=str(len(taken))):
        svg.arrow(points, kind)
        svg.text(at[0], at[1], label, words_kind, anchor)
