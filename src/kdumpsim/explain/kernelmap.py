# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a kernel has what facts are read from: variables, members of structures, and every spinlock there is a way to.

It is found once in a kernel's debug data, which takes a second, and kept in the cache.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kdumpsim.compiler import cache
from kdumpsim.vmcore.layout import Layout, Shape

SPINLOCK = "spinlock"
STRUCTURES = ("thread_info", "task_struct")
MOST_ELEMENTS = 512
"""Of an array that are looked into."""


class KernelMap:
    """What is where; addresses are linear."""

    def __init__(self, elf: bytes) -> None:
        key = cache.digest(["kernel map 2", elf])
        found: Mapping[str, Any] = json.loads(cache.cached(key, lambda: json.dumps(_read(elf)).encode()))
        self.variables: Mapping[str, tuple[int, int]] = found["variables"]
        """Address and size of each."""
        self.structures: Mapping[str, Mapping[str, tuple[int, int]]] = found["structures"]
        """Offset and size of the members of `STRUCTURES`."""
        self.sizes: Mapping[str, int] = found["sizes"]
        """Of `STRUCTURES`, in bytes."""
        self.per_cpu = range(*found["per_cpu"])
        """The pattern of what every CPU has a copy of."""
        self.locks: list[tuple[str, int]] = found["locks"]
        """Those that are variables, or part of one: name and address."""
        self.pointers: list[tuple[str, int, str]] = found["pointers"]
        """Variables that point to structures with locks, or that lead on to some: name, address, structure."""
        self.shapes: Mapping[str, tuple[int, list[tuple[str, int]], list[tuple[str, int, str]]]] = found["shapes"]
        """Of such structures: size, locks and pointers, by offset."""

    def offset(self, structure: str, member: str) -> int:
        """Of a member of one of `STRUCTURES`."""
        return self.structures[structure][member][0]

    def variable_at(self, address: int) -> str | None:
        """The variable that a byte belongs to; one of no size has no bytes."""
        found = (name for name, (start, size) in self.variables.items() if start <= address < start + size)
        return next(found, None)


def _read(elf: bytes) -> dict[str, Any]:
    layout = Layout.of(elf)
    shapes = _leading(layout)
    locks: list[tuple[str, int]] = []
    pointers: list[tuple[str, int, str]] = []
    for name, (address, shape) in layout.variables.items():
        for path, offset, target in _parts(shape):
            if not target:
                locks.append((name + path, address + offset))
            elif target in shapes:
                pointers.append((name + path, address + offset, target))
    return {
        "variables": {name: (address, shape.size) for name, (address, shape) in layout.variables.items()},
        "structures": {
            name: {member: (offset, shape.size) for member, (offset, shape) in layout.structures[name].members.items()}
            for name in STRUCTURES
        },
        "sizes": {name: layout.structures[name].size for name in STRUCTURES},
        "per_cpu": [layout.symbols[f"__per_cpu_{end}"] for end in ("start", "end")],
        "locks": locks,
        "pointers": pointers,
        "shapes": shapes,
    }


def _leading(layout: Layout) -> dict[str, tuple[int, list[tuple[str, int]], list[tuple[str, int, str]]]]:
    """The structures that hold a lock, or lead to one by pointers."""
    parts = {name: list(_parts(shape)) for name, shape in layout.structures.items() if name != SPINLOCK}
    leading = {name for name, found in parts.items() if any(not target for _, _, target in found)}
    while True:
        more = {name for name, found in parts.items() if any(target in leading for _, _, target in found)}
        if more <= leading:
            break
        leading |= more
    return {
        name: (
            layout.structures[name].size,
            [(path, offset) for path, offset, target in parts[name] if not target],
            [part for part in parts[name] if part[2] in leading],
        )
        for name in leading
    }


def _parts(shape: Shape, path: str = "", offset: int = 0) -> Iterator[tuple[str, int, str]]:
    """The locks (structure "") and pointers to structures in a type: path, offset, structure."""
    if shape.is_pointer:
        if name := shape.target.name:
            yield path, offset, name
    elif shape.is_array:
        element = shape.target
        if element.is_pointer or element.is_array or element.members:
            inside = list(_parts(element))
            for index in range(min(shape.count, MOST_ELEMENTS) if inside else 0):
                for inner, at, structure in inside:
                    yield f"{path}[{index}]{inner}", offset + index * element.size + at, structure
    elif shape.name == SPINLOCK:
        yield path, offset, ""
    else:
        for member, (at, part) in shape.members.items():
            yield from _parts(part, f"{path}.{member}", offset + at)
