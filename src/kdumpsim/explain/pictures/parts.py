# SPDX-License-Identifier: GPL-2.0-or-later
"""Physical memory cut into named parts: the kernel's own tree of it, and what the dump mechanism has put there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kdumpsim.explain.pictures.recorder import PREPARED, Record
from kdumpsim.mechanisms.base import Area
from kdumpsim.target import LOWMEM_END, PAGE_OFFSET, StructLayout, hex_address, physical
from kdumpsim.vmcore.picture import Picture

RESOURCE = StructLayout(
    "resource",
    dict.fromkeys(("start", "end", "name"), "word") | {"flags": "u32"} | dict.fromkeys(
        ("parent", "sibling", "child"), "word"
    ),
)  # fmt: skip
ROOT = "iomem_resource"
RAM = "System RAM"
MOST = 256
"""Nodes of the tree that are read: one that was overwritten may lead in circles."""
KINDS = {"kernel": "second", "copy": "save", "data": "mech"}
"""How areas of a mechanism are drawn."""
_NAME_BYTES = 64


@dataclass(frozen=True)
class Part:
    """Physical addresses from `start` up to, not including, `end`."""

    name: str
    kind: str
    """How it is drawn: a class of the style."""
    start: int
    end: int
    detail: str = ""

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start

    @property
    def ram(self) -> bool:
        """Whether anything can be kept there."""
        return self.kind != "hole"

    def holds(self, address: int) -> bool:
        """Is an address in it?"""
        return self.start <= address < self.end


@dataclass(frozen=True)
class Node:
    """An entry of the tree, as /proc/iomem would show it; `end` is one past the last address."""

    name: str
    start: int
    end: int
    children: tuple[Node, ...]


def resource_tree(ram: Picture, symbols: Mapping[str, int]) -> tuple[Node, ...]:
    """What is at which physical address, as the kernel in memory has it; nothing of what was overwritten."""
    left = MOST

    def nodes(pointer: int) -> Iterable[Node]:
        nonlocal left
        while PAGE_OFFSET <= pointer < PAGE_OFFSET + LOWMEM_END and left:
            left -= 1
            at = physical(pointer)
            entry = next(RESOURCE.entries(ram.read(at, at + RESOURCE.form.size)))
            text = physical(entry["name"]) if entry["name"] >= PAGE_OFFSET else 0
            name = ram.read(text, text + _NAME_BYTES).partition(b"\0")[0].decode("ascii", "replace")
            yield Node(name, entry["start"], entry["end"] + 1, tuple(nodes(entry["child"])))
            pointer = entry["sibling"]

    return tuple(node for root in nodes(symbols.get(ROOT, 0)) for node in root.children)


def gaps(start: int, end: int, inside: Sequence[Part], filler: Part) -> list[Part]:
    """`inside`, in order, with pieces of `filler` around them, from `start` to `end`."""
    found, at = [], start
    for part in sorted(inside, key=lambda part: part.start):
        begin, stop = max(part.start, at), min(part.end, end)
        if begin >= stop:
            continue
        if begin > at:
            found.append(replace(filler, start=at, end=begin))
        found.append(replace(part, start=begin, end=stop))
        at = stop
    if at < end:
        found.append(replace(filler, start=at, end=end))
    return found


class Map:
    """A run's physical memory."""

    def __init__(self, record: Record) -> None:
        session, moment = record.session, record.moments.get(PREPARED)
        oracle = record.oracle
        self.ram_ranges = oracle.ram
        self.end = max(end for _, end in self.ram_ranges)
        """One past the last address of RAM."""
        symbols = oracle.symbols
        self.image = physical(symbols["_text"]), physical(symbols["_end"])
        """The first kernel's."""
        instant = (moment.instant if moment else None) or oracle.crash
        tree = resource_tree(instant.ram, symbols) if instant is not None and instant.ram is not None else ()
        if not tree:  # it did not come so far: what the firmware says
            tree = tuple(Node(RAM if entry.kind == 1 else "reserved", entry.base, entry.base + entry.size, ())
                         for entry in session.machine.memory.e820)  # fmt: skip
        self.reserved = Part("reserved region", "reserved", oracle.reserved.start, oracle.reserved.end) \
            if oracle.reserved is not None else None  # fmt: skip
        self._areas = [_of_area(area) for area in record.areas]
        self.parts = self._parts(tree)
        """All addresses from 0 up to `end`, each once, in order."""

    def _parts(self, tree: Iterable[Node]) -> list[Part]:
        inside = [part for node in tree for part in self._cut(node)]
        return gaps(0, self.end, inside, Part("no memory", "hole", 0, 0))

    def _cut(self, node: Node) -> list[Part]:
        children = [part for child in node.children for part in self._cut(child)]
        if self.reserved is not None and (node.start, node.end) == (self.reserved.start, self.reserved.end):
            own = Part("reserved, not loaded to", "reserved", node.start, node.end)
            return gaps(node.start, node.end, self._areas, own)
        if node.name == RAM:
            return self._image_in(gaps(node.start, node.end, children, Part(RAM, "free", 0, 0)))
        kind = "first" if self.image[0] <= node.start < self.image[1] else "hole"
        return gaps(node.start, node.end, children, Part(node.name, kind, 0, 0))

    def _image_in(self, parts: Iterable[Part]) -> list[Part]:
        """The first kernel's image has sections that the tree has not."""
        start, end = self.image
        found = []
        for part in parts:
            if part.kind == "free" and part.start < end and start < part.end:
                rest = Part("Kernel, other sections", "first", max(part.start, start), min(part.end, end))
                found += gaps(part.start, part.end, [rest], part)
            else:
                found.append(part)
        return found

    def part_at(self, address: int) -> Part | None:
        """The part that holds an address."""
        return next((part for part in self.parts if part.holds(address)), None)

    def outside(self) -> list[Part]:
        """All parts, with the reserved region as one."""
        region = self.reserved
        if region is None:
            return self.parts
        rest = [part for part in self.parts if part.end <= region.start or region.end <= part.start]
        return sorted([*rest, region], key=lambda part: part.start)

    def inside(self) -> list[Part]:
        """Those of the reserved region."""
        region = self.reserved
        return [part for part in self.parts if region is not None and region.start <= part.start < region.end]


def _of_area(area: Area) -> Part:
    return Part(area.name, KINDS.get(area.kind, "mech"), area.start, area.end, area.detail)


def size_text(size: int) -> str:
    """Bytes in the largest unit that leaves a whole number or one digit after the point."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            value = size / (1 << shift)
            return f"{value:.0f} {unit}" if value == int(value) else f"{value:.1f} {unit}"
    return f"{size} B"


def span_text(start: int, end: int) -> str:
    """First and last address, as /proc/iomem has them."""
    return f"{hex_address(start)}-{hex_address(end - 1)}"
