# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading /proc/iomem: which physical memory there is, and what is reserved for a capture kernel."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import KexecError
from .segments import PAGE_SIZE, Range, page_down, page_up

_LINE = re.compile(r"(?P<indent> *)(?P<start>[0-9a-fA-F]+)-(?P<end>[0-9a-fA-F]+) : (?P<name>.*\S)\s*")


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
        resources.append(Resource(Range(start, last + 1), match["name"], len(match["indent"]) // 2))
    return resources


def format_iomem(resources: list[Resource]) -> str:
    """The inverse of :func:`parse_iomem`."""
    return "".join(f"{resource}\n" for resource in resources)


def memory_layout(text: str) -> MemoryLayout:
    """System RAM (neighbours joined), the reserved region and the running kernel's place."""
    resources = parse_iomem(text)
    ram: list[Range] = []
    for part in sorted(r.range for r in resources if r.name == "System RAM"):
        if ram and part.start <= ram[-1].end:
            ram[-1] = Range(ram[-1].start, max(ram[-1].end, part.end))
        else:
            ram.append(part)
    if not ram:
        raise KexecError("/proc/iomem shows no 'System RAM'")
    crash = next((r.range for r in resources if r.name == "Crash kernel"), None)
    if crash is not None and (crash.start % PAGE_SIZE or crash.end % PAGE_SIZE):
        crash = Range(page_up(crash.start), page_down(crash.end))
    kernel = tuple(sorted(r.range for r in resources if r.name in ("Kernel code", "Kernel data", "Kernel bss")))
    return MemoryLayout(tuple(ram), crash, kernel)
