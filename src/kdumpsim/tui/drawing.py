# SPDX-License-Identifier: GPL-2.0-or-later
"""A picture as text for panes of any size: what is marked by a colour is marked by a character, too."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from itertools import pairwise
from typing import Final

from rich.cells import set_cell_size
from rich.syntax import Syntax
from rich.text import Text

from kdumpsim.target import FLAGS, SEGMENTS, hex_address
from kdumpsim.tui.looking import CpuRow, Region, holds
from kdumpsim.tui.model import Picture
from kdumpsim.tui.strip import GLYPHS, column_of, legend, strips, window
from kdumpsim.vmcore.disassembly import Instruction

THEME: Final = "ansi_dark"
COLOURS: Final = {
    "halt": "grey50", "idle": "grey50", "task": "green", "call": "cyan", "softirq": "blue", "irq": "yellow",
    "fault": "red", "nmi": "bold magenta", "DMA": "blue", "console": "white",
}  # fmt: skip
_CELL: Final = 15
"""Columns of a register's name and value."""
HERE, BREAKPOINT, CODE = "▶", "●", "·"
_FLAGS: Final = ((0, "CF"), (2, "PF"), (4, "AF"), (6, "ZF"), (7, "SF"), (8, "TF"), (9, "IF"), (10, "DF"), (11, "OF"),
                 (14, "NT"), (17, "VM"))  # fmt: skip


def status(picture: Picture, title: str, mode: str, width: int) -> Text:
    """The first line: what run, where in it, and what is going on."""
    left = f" {title}  #{picture.number:,}  {picture.ns / 1e9:.9f} s  after: {picture.past}"
    room = max(width - len(mode) - 2, 0)
    return Text(f"{set_cell_size(left, room)} {mode} ", style="reverse", no_wrap=True)


def one_line(text: str, width: int) -> Text:
    """A message, cut off where there is no room for more."""
    line = Text(f" {text}", no_wrap=True)
    line.truncate(width, overflow="ellipsis")
    return line


def cpus(picture: Picture, selected: int, width: int) -> Text:
    """A line for each CPU: where it is and what it does."""
    lines = []
    for row in picture.cpus:
        mark = HERE if row.index == selected else " "
        task = f"  {row.task}" if row.task else ""
        head = f"{mark}CPU {row.index}  "
        middle = f"{row.doing}{task}"
        place = f"{row.spot}  {row.spot.where}".rstrip()
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(head, "bold" if row.index == selected else "")
        line.append(set_cell_size(middle, max(width * 2 // 5, 12)), _colour(row))
        line.append(f"  {place}", "bold" if row.index == selected else "")
        line.truncate(width)
        lines.append(line)
    return Text("\n").join(lines)


def _colour(row: CpuRow) -> str:
    if row.state != "runs":
        return "grey50"
    if "NMI" in row.doing:
        return "magenta"
    return "cyan" if row.doing.startswith("system call") else "green"


def registers(row: CpuRow, width: int) -> Text:
    """A CPU's registers, and the flags by name."""
    cells = [
        f"{name:>6} {f'{value:04x}' if name in SEGMENTS else hex_address(value)}"
        for name, value in asdict(row.registers).items()
    ]
    columns = min(max(width // (_CELL + 1), 1), 4)
    lines = [" ".join(f"{cell:<{_CELL}}" for cell in cells[at : at + columns]) for at in range(0, len(cells), columns)]
    flags = " ".join(name for bit, name in _FLAGS if getattr(row.registers, FLAGS) >> bit & 1)
    lines.append(f" flags {flags or '(none)'}; ring {row.registers.cs & 3}")
    return Text("\n".join(lines), no_wrap=True, overflow="crop")


def calls(picture: Picture, width: int, height: int) -> Text:
    """The functions that a CPU is in, innermost first."""
    lines = []
    for number, frame in enumerate(picture.calls[:height]):
        line = Text(f"{number:>2} ", "grey50", no_wrap=True)
        line.append(frame.function or hex_address(frame.address), "" if number else "bold")
        if frame.file:
            line.append(f"  {frame.file.rpartition('/')[2]}:{frame.line}", "grey50")
        line.truncate(width)
        lines.append(line)
    return Text("\n").join(lines)


def console(picture: Picture, height: int, width: int) -> Text:
    """The last lines of the serial console."""
    lines = list(picture.console)
    while lines and not lines[-1].strip():
        lines.pop()
    return Text("\n".join(line[:width] for line in lines[-height:]), no_wrap=True, overflow="crop")


def memory(picture: Picture, width: int, height: int) -> Text:
    """Physical memory from its top down, and where the CPUs run in it."""
    inside = {row.index: holds(picture.regions, row.physical) for row in picture.cpus if row.physical is not None}
    rows: list[tuple[Text, bool]] = []
    for region in sorted(_merged(picture.regions), key=lambda region: (-region.end, region.inside)):
        here = [index for index, one in inside.items() if one is not None and _within(one, region)]
        line = Text(no_wrap=True, overflow="crop")
        line.append(f"{hex_address(region.start)}-{hex_address(region.end - 1)} ", "grey50")
        line.append(f"{'  ' * region.inside}{region.name}", "bold" if not region.inside else "")
        line.append(f" {_size(region.end - region.start)}", "grey50")
        if here:
            line.append(f" ◀ CPU {_numbers(here)}", "bold green")
        line.truncate(width)
        rows.append((line, bool(region.inside or here)))
    wanted = [line for line, needed in rows if needed or len(rows) <= height]
    return Text("\n").join(wanted[:height])


def _merged(regions: Sequence[Region]) -> list[Region]:
    """Neighbours of one name in one."""
    found: list[Region] = []
    for region in regions:
        last = found[-1] if found else None
        if last is not None and (last.name, last.inside, last.end) == (region.name, region.inside, region.start):
            found[-1] = Region(last.name, last.start, region.end, last.inside)
        else:
            found.append(region)
    return found


def _within(one: Region, other: Region) -> bool:
    return one.inside == other.inside and other.start <= one.start < other.end


def _numbers(numbers: Sequence[int]) -> str:
    """Numbers in order, neighbours as a range."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][-1] == number - 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in ranges)


def _size(size: int) -> str:
    return f"{size >> 20}M" if size >= 1 << 20 and not size & 0xFFFFF else f"{-(-size >> 10)}K"


def timeline(picture: Picture, zoom: int, width: int, height: int) -> Text:
    """The CPUs' rows, around now; a column is marked as now, others as milestones."""
    columns = max(width - 9, 10)
    total = max(picture.end[1], picture.ns, 1)
    begin, end = window(picture.ns, total, zoom)
    now = column_of(picture.ns, begin, end, columns)
    rows = strips(picture.spans, len(picture.cpus), begin, end, columns)
    lines = [Text(" " * 9 + _heads(picture, begin, end, columns, now), no_wrap=True)]
    for row in rows:
        line = Text(f"{row.name[:8]:<9}", no_wrap=True)
        for column, kind in enumerate(row.cells):
            style = COLOURS.get(kind, "")
            line.append(GLYPHS.get(kind, "*"), f"{style} reverse" if column == now else style)
        lines.append(line)
    scale = f"{begin / 1e9:.6f} s to {end / 1e9:.6f} s, a column is {_time((end - begin) / columns)}"
    lines.append(Text(" " * 9 + scale, "grey50", no_wrap=True))
    lines.append(Text(f" ▼ now  ▾ milestone  {legend(rows)}", "grey50", no_wrap=True))
    for line in lines:
        line.truncate(width)
    return Text("\n").join(lines[:height])


def _heads(picture: Picture, begin: int, end: int, columns: int, now: int | None) -> str:
    """Milestones, each with as much of its name as there is room for, and where one is."""
    names: dict[int, str] = {}
    for stop in picture.stops:
        if (at := column_of(stop.ns, begin, end, columns)) is not None:
            names.setdefault(at, stop.name.removesuffix("-done"))
    places = sorted({*names, *(() if now is None else (now,)), columns})
    line: str = " " * places[0]
    for at, following in pairwise(places):
        mark = "▼" if at == now else "▾"
        line += set_cell_size(mark + names.get(at, ""), following - at)
    return line


def _time(ns: float) -> str:
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns"


@lru_cache(maxsize=16)
def highlighted(text: tuple[str, ...]) -> tuple[Text, ...]:
    """Python source in colours, by lines."""
    syntax = Syntax("", "python", theme=THEME)
    lines = syntax.highlight("\n".join(text)).split("\n", allow_blank=True)
    return tuple(lines)


def source(
    text: tuple[str, ...], top: int, height: int, width: int, *, cursor: int, here: Mapping[int, str],
    code: Collection[int], breakpoints: Collection[int],
) -> Text:  # fmt: skip
    """Lines of a source file from `top` (1 is the first) on: breakpoint, CPUs, number, text."""
    lines, colours = [], highlighted(text)
    for number in range(top, min(top + height, len(text) + 1)):
        mark = BREAKPOINT if number in breakpoints else CODE if number in code else " "
        line = Text(no_wrap=True)
        line.append(mark, "bold red" if number in breakpoints else "grey50")
        at = here.get(number, "")
        line.append(f"{at:>3}{HERE if at else ' '}", "bold green")
        line.append(f"{number:>4} ", "grey50")
        line.append_text(colours[number - 1].copy())
        line.truncate(width, pad=True)
        if at:
            line.stylize("on rgb(25,50,80)")
        if number == cursor:
            line.stylize("reverse", 5, 9)
        lines.append(line)
    return Text("\n").join(lines)


def instructions(code: Sequence[Instruction], at: int, height: int, width: int) -> Text:
    """Machine code, with the instruction that comes next in the middle."""
    place = next((number for number, each in enumerate(code) if each.address == at), 0)
    top = max(min(place - height // 3, len(code) - height), 0)
    lines = []
    for each in code[top : top + height]:
        here = each.address == at
        shown = f"{each.code.hex(' ')[:26]:<27}{each.text}"
        line = Text(f"{HERE if here else ' '} {hex_address(each.address)}  {shown}", no_wrap=True)
        line.truncate(width, pad=True)
        if here:
            line.stylize("bold reverse")
        lines.append(line)
    return Text("\n").join(lines)
