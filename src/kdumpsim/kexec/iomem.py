# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading /proc/iomem: which physical memory there is, and what is reserved for a capture kernel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from kdumpsim.target import PAGE_SIZE

from .errors import KexecError
from .segments import Range, joined, page_down, page_up

MAX_ADDRESS = 1 << 52
"""Physical addresses have at most 52 bits (Intel SDM, volume 3, section 4.1.4)."""
MAX_RANGES = 1024
"""Pieces of the memory map; the kernel's E820MAX is 128."""

_LINE = re.compile(r"(?P<indent> *)(?P<start>[0-9a-fA-F]+)-(?P<end>[0-9a-fA-F]+) : (?P<name>.*\S)\s*")


class RangeType(IntEnum):
    """What a range is, by the numbers of the firmware's memory map (e820) and Multiboot's (0.6.96, section 3.3)."""

    RAM = 1
    RESERVED = 2
    ACPI = 3
    NVS = 4


RANGE_TYPES = {
    "System RAM": RangeType.RAM,
    "reserved": RangeType.RESERVED,
    "Reserved": RangeType.RESERVED,
    "ACPI Tables": RangeType.ACPI,
    "ACPI Non-volatile Storage": RangeType.NVS,
    "System ROM": RangeType.RESERVED,
}
"""What kexec-tools make of a resource's name.

The ROM is ours: the kernel enters it before the memory map, whose reserved range it then stands for.
"""


@dataclass(frozen=True, slots=True)
class Resource:
    """One line: a range, its name, and how deep it is nested."""

    range: Range
    name: str
    depth: int

    def __str__(self) -> str:
        return f"{'  ' * self.depth}{self.range.start:08x}-{self.range.end - 1:08x} : {self.name}"


@dataclass(frozen=True, slots=True)
class MemoryLayout:
    """What kexec-tools wants to know about a machine's memory."""

    ram: tuple[Range, ...]
    """"System RAM", in order of address."""
    crash: Range | None
    """"Crash kernel"."""
    kernel: tuple[Range, ...] = ()
    """"Kernel code", "Kernel data", "Kernel bss" of the running kernel."""
    other: tuple[tuple[Range, RangeType], ...] = ()
    """Ranges of the memory map that are no RAM, in order of address."""

    @property
    def memory_map(self) -> list[tuple[Range, RangeType]]:
        """All ranges of the memory map, in order of address: what the next kernel is told."""
        return sorted([*((part, RangeType.RAM) for part in self.ram), *self.other])

    def of_type(self, *kinds: RangeType) -> list[Range]:
        """The ranges of some types, in order of address."""
        return [part for part, kind in self.memory_map if kind in kinds]

    def require_crash(self) -> Range:
        """The reserved region; KexecError when the running kernel has none."""
        if self.crash is None:
            raise KexecError(
                "no memory is reserved for a capture kernel: /proc/iomem has no 'Crash kernel'; "
                "boot the first kernel with crashkernel=SIZE@ADDRESS, for example crashkernel=16M@16M"
            )
        return self.crash


def parse_iomem(text: str) -> list[Resource]:
    """All lines of /proc/iomem, in their order; KexecError names a line that is not one."""
    resources: list[Resource] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise KexecError(f"/proc/iomem, line {number}: not of the form 'START-END : NAME': {line.strip()!r}")
        start, last = int(match["start"], 16), int(match["end"], 16)
        if last < start:
            raise KexecError(f"/proc/iomem, line {number}: the range ends before it starts: {line.strip()!r}")
        if last >= MAX_ADDRESS:
            raise KexecError(f"/proc/iomem, line {number}: an address of more than 52 bits: {line.strip()[:80]!r}")
        resources.append(Resource(Range(start, last + 1), match["name"], len(match["indent"]) // 2))
    return resources


def format_iomem(resources: list[Resource]) -> str:
    """The inverse of :func:`parse_iomem`."""
    return "".join(f"{resource}\n" for resource in resources)


def memory_layout(text: str) -> MemoryLayout:
    """The memory map (neighbours of a type joined), the reserved region and the running kernel's place."""
    resources = parse_iomem(text)
    if resources and all(resource.range == Range(0, 1) for resource in resources):
        raise KexecError(
            "/proc/iomem shows every address as 0, as the kernel shows it to readers without rights; read it as root"
        )
    parts = {kind: joined(r.range for r in resources if RANGE_TYPES.get(r.name) is kind) for kind in RangeType}
    ram = parts.pop(RangeType.RAM)
    if not ram:
        raise KexecError("/proc/iomem shows no 'System RAM'")
    crash = next((r.range for r in resources if r.name == "Crash kernel"), None)
    if crash is not None and (crash.start % PAGE_SIZE or crash.end % PAGE_SIZE):
        crash = Range(page_up(crash.start), page_down(crash.end))
        if crash.size <= 0:
            raise KexecError("/proc/iomem's 'Crash kernel' holds no whole page")
    kernel = tuple(sorted(r.range for r in resources if r.name in ("Kernel code", "Kernel data", "Kernel bss")))
    other = sorted((part, kind) for kind, ranges in parts.items() for part in ranges)
    if len(ram) + len(other) > MAX_RANGES:
        raise KexecError(f"/proc/iomem shows {len(ram) + len(other)} pieces of memory, allowed are {MAX_RANGES}")
    return MemoryLayout(tuple(ram), crash, kernel, tuple(other))
