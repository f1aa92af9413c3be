# SPDX-License-Identifier: GPL-2.0-or-later
"""A stack that overflowed: how the stack pointer went down, in which functions, and what it met below the stack.

It is drawn from facts alone (`explain.stacks`): `StackGrown`, `StackLeft` and `Overwritten`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from kdumpsim.explain.facts import UNUSED, Damage, Facts, Overwritten, StackGrown, StackLeft
from kdumpsim.explain.pictures.parts import size_text
from kdumpsim.explain.pictures.svg import Drawing, Svg, plural
from kdumpsim.target import hex_address

WIDTH, TOP, PLOT = 960, 70, 460
MEMORY, MEMORY_WIDTH = 110, 150
STRIP, STRIP_WIDTH = 264, 14
FRAMES, FRAMES_WIDTH = 296, 190
PATH, PATH_END = 520, 940
LEAST_LABEL = 13
"""px of a box that has room for its name."""
MOST_LISTED = 16
INFO = "thread_info"


def figures(facts: Facts, stack_size: int, info_size: int) -> list[Drawing]:
    """One picture, of a run in which a stack pointer was seen below its stack.  Sizes in bytes: of a stack, and of the
    thread_info at its low end."""
    left, grown = facts.first(StackLeft), facts.all(StackGrown)
    if left is None or not grown:
        return []
    overwritten = facts.all(Overwritten)
    runs = [list(run) for _, run in groupby(overwritten, lambda one: (one.what, one.by))]
    listed = _listed(runs)
    title = f"The stack of {left.task or 'an unknown task'} on CPU {left.at.cpu} overflows"
    svg = Svg(WIDTH, TOP + PLOT + 66 + 16 * (len(listed) + 1), title, "The stack pointer's way and what it overwrote")
    svg.text(20, 24, title, "h")
    plot = _Plot(svg, left.stack, left.stack + stack_size, info_size, min(one.pointer for one in grown))
    plot.memory(overwritten, facts.all(Damage))
    plot.frames(grown)
    plot.path(grown, left)
    _list(svg, listed, len(runs))
    top, low, deepest = (hex_address(at) for at in (left.stack + stack_size, left.stack, plot.lowest))
    reached = f"The stack pointer reached {deepest}, {size_text(left.stack - plot.lowest)} below the stack"
    caption = (f"The stack grows from {top} down to {low}, where its {INFO} of {plural(info_size, 'byte')} is (drawn "
               f"larger than it is). {reached}.")  # fmt: skip
    return [Drawing("stack", title, caption, str(svg))]


class _Plot:
    """Addresses from the top down."""

    def __init__(self, svg: Svg, low: int, high: int, info_size: int, lowest: int) -> None:
        self.svg, self.low, self.high, self.lowest = svg, low, high, lowest
        self._info = info_size
        self._margin = (high - lowest) // 24
        self._bottom = lowest - self._margin

    def y(self, address: int) -> float:
        """Where an address is."""
        return TOP + PLOT * (self.high - max(min(address, self.high), self._bottom)) / (self.high - self._bottom)

    def memory(self, overwritten: Sequence[Overwritten], damage: Sequence[Damage]) -> None:
        """The stack, thread_info, what is below, and what of it was overwritten."""
        svg, right = self.svg, MEMORY + MEMORY_WIDTH
        svg.text(MEMORY, TOP - 10, "memory", "s")
        svg.text(STRIP + STRIP_WIDTH, TOP + PLOT + 14, "overwritten", "s", "end")
        top, info, low, end = self.y(self.high), self.y(self.low) - 16, self.y(self.low), TOP + PLOT
        above = self.low + self._info
        svg.rect(MEMORY, top, MEMORY_WIDTH, info - top, "first", start=above, end=self.high, name="stack")
        svg.text(MEMORY + 8, top + 16, f"stack, {size_text(self.high - self.low)}", "b")
        svg.rect(MEMORY, info, MEMORY_WIDTH, low - info, "reserved", start=self.low, end=above, name=INFO)
        svg.text(MEMORY + 8, low - 4, INFO, "b")
        svg.rect(MEMORY, low, MEMORY_WIDTH, end - low, "hole", start=self._bottom, end=self.low, name="below")
        below = next((one.what for one in overwritten if one.address < self.low), "")
        svg.text(MEMORY + 8, low + 18, "below the stack", "b")
        svg.text(MEMORY + 8, low + 34, "nothing uses it" if below == UNUSED else below, "m", room=MEMORY_WIDTH - 14)
        for address in (self.high, self.low, self.lowest):
            svg.text(MEMORY - 6, self.y(address) + 4, hex_address(address), "m", "end")
        for done in damage:
            if done.end <= self.low:
                y = self.y(done.end)
                title = f"{done.what}: {plural(done.size, 'byte')} changed"
                svg.rect(STRIP, y, STRIP_WIDTH, self.y(done.start) - y, "new", title,
                         start=done.start, end=done.end, name=done.what, on="damage")  # fmt: skip
        for one in overwritten:
            first, last = self.y(one.address + one.size), self.y(one.address)
            if one.address >= self.low:
                first, last = info, low
            svg.rect(STRIP, first, STRIP_WIDTH, last - first, "new", f"{one.what} by {one.by}",
                     start=one.address, end=one.address + one.size, name=one.what, on="overwritten")  # fmt: skip
        svg.line(right, low, PATH_END, low, "crash")

    def frames(self, grown: Sequence[StackGrown]) -> None:
        """Which function took how much of it."""
        svg = self.svg
        svg.text(FRAMES, TOP - 10, "functions that took it down", "s")
        used = f"in use before, {plural(self.high - grown[0].begin, 'byte')}"
        svg.rect(FRAMES, TOP, FRAMES_WIDTH, self.y(grown[0].begin) - TOP, "free", used)
        svg.text(FRAMES + 6, TOP + 14, used, "s", room=FRAMES_WIDTH - 10)
        for one in grown:
            first, last = self.y(one.begin), self.y(one.pointer)
            kind = "save" if one.pointer >= self.low else "second"
            taken = one.begin - one.pointer
            svg.rect(FRAMES, first, FRAMES_WIDTH, last - first, kind, f"{one.function}: {plural(taken, 'byte')}",
                     begin=one.begin, pointer=one.pointer, name=one.function, on="frames")  # fmt: skip
            if last - first >= LEAST_LABEL:
                name = f"{one.function}()" if one.function.isidentifier() else one.function
                svg.text(FRAMES + 6, (first + last) / 2 + 4, f"{name}, {plural(taken, 'byte')}", "s",
                         room=FRAMES_WIDTH - 10)  # fmt: skip

    def path(self, grown: Sequence[StackGrown], left: StackLeft) -> None:
        """The stack pointer over time."""
        svg = self.svg
        begin, end = grown[0].at.ns, max(grown[-1].at.ns, grown[0].at.ns + 1)
        svg.text(PATH, TOP - 24, "the lowest stack pointer so far, over virtual time", "s")
        svg.text(PATH, TOP - 10, f"{begin / 1e9:.6f} s", "s")
        svg.text(PATH_END, TOP - 10, f"{end / 1e9:.6f} s", "s", "end")

        def x(ns: int) -> float:
            return PATH + (PATH_END - PATH) * (ns - begin) / (end - begin)

        points: list[tuple[float, float]] = [(PATH, self.y(grown[0].begin))]
        for one in grown:
            points += [(x(one.at.ns), points[-1][1]), (x(one.at.ns), self.y(one.pointer))]
        svg.path(points, "arrow")
        at = x(left.at.ns)
        svg.rect(at - 4, self.y(self.low) - 4, 8, 8, "new", pointer=left.pointer, time=left.at.ns, on="left")
        anchor, place = ("end", at - 8) if at > (PATH + PATH_END) / 2 else ("", at + 8)
        svg.text(place, self.y(self.low) + 16, f"below the stack from {left.at.ns / 1e9:.6f} s on", "hot", anchor)


def _listed(runs: Sequence[list[Overwritten]]) -> list[list[Overwritten]]:
    """Those there is room for, in order: the first write to each member of thread_info, and the earliest others."""
    members = {one.what: number for number, (one, *_) in reversed([*enumerate(runs)]) if one.in_thread_info}
    others = [number for number in range(len(runs)) if number not in members.values()]
    return [runs[number] for number in sorted([*members.values(), *others][:MOST_LISTED])]


def _list(svg: Svg, runs: Sequence[Sequence[Overwritten]], total: int) -> None:
    """What was overwritten, in order; what one writer did to one thing is told once."""
    y = TOP + PLOT + 40
    rest = f", {len(runs)} of {total}" if total > len(runs) else ""
    svg.text(20, y, f"what was overwritten, in order{rest}", "b")
    for number, (one, *others) in enumerate(runs, 1):
        frames = [frame.function or "?" for frame in one.frames[1:3]]
        callers = f", called by {', '.join(f'{name}()' for name in frames)}" if frames else ""
        more = f", and {plural(len(others), 'other piece')}" if others else ""
        what = f"{one.what} at {hex_address(one.address)}, {plural(one.size, 'byte')}, {one.old:#x} to {one.new:#x}"
        text = f"{number}. {one.at.ns / 1e9:.6f} s: {what}{more}, by {one.by}{callers}"
        svg.text(30, y + 16 * number, text, "s", room=WIDTH - 50)
