# SPDX-License-Identifier: GPL-2.0-or-later
"""What a stopped machine shows: its CPUs with their tasks, and what is where in its memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Final

from kdumpsim import images
from kdumpsim.cpu.registers import Registers
from kdumpsim.debugger.symbols import Spot, Symbols
from kdumpsim.debugger.travel import Traveller
from kdumpsim.debugger.views import CpuStatus
from kdumpsim.target import FLAGS, PAGE_OFFSET, PROGRAM_COUNTER, TARGET, stack_pointer, words
from kdumpsim.tui.strip import SYSTEM_CALL
from kdumpsim.vmcore.layout import Layout
from kdumpsim.vmcore.unwind import Frame

PAGING: Final = 1 << 31
INTERRUPTS: Final = 1 << 9
PROTECTED: Final = 1
PIDS: Final = 1 << 22
"""Larger ones are none: the stack, or what it leads to, was overwritten."""


@dataclass(frozen=True)
class CpuRow:
    """A CPU."""

    index: int
    state: str
    """runs, halted, waits for SIPI, shut down."""
    doing: str
    task: str
    """Name and pid; empty where there is none."""
    spot: Spot
    registers: Registers
    physical: int | None
    """Where its next instruction is in memory."""


@dataclass(frozen=True)
class Region:
    """Physical memory from `start` up to, not including, `end`."""

    name: str
    start: int
    end: int
    inside: int = 0
    """How many regions it is part of."""


class Looker:
    """Looks for a traveller; a machine whose memory was overwritten shows less."""

    def __init__(self, travel: Traveller, symbols: Symbols, first: images.KernelImage) -> None:
        self._travel, self._symbols, self._first = travel, symbols, first

    @cached_property
    def layout(self) -> Layout:
        """The first kernel's; the capture kernel has the same structures."""
        return Layout.of(self._first.elf)

    # CPUs.

    def cpus(self) -> list[CpuRow]:
        """All of them."""
        return [self._row(index, status) for index, status in enumerate(self._travel.ask("status"))]

    def _row(self, index: int, status: CpuStatus) -> CpuRow:
        registers = status.registers
        name, pid = self._task(index, status)
        task = f"{name}[{pid}]" if name else ""
        spot = self._symbols.spot(linear(registers), name, bool(registers.cr0 & PAGING))
        physical = self._travel.ask("physical", index, linear(registers))
        return CpuRow(index, status.state, _doing(status), task, spot, registers, physical)

    def _task(self, index: int, status: CpuStatus) -> tuple[str, int]:
        registers = status.registers
        stack = status.kernel_stack - 1 if registers.cs & 3 else stack_pointer(registers)
        if stack < PAGE_OFFSET or not registers.cr0 & PAGING:
            return "", 0
        size = self._first.stack_size
        try:
            pointer = self._word(index, (stack & -size) + self._offset("thread_info", "task"))
            comm, shape = self.layout.structures["task_struct"].members["comm"]
            name = self._read(index, pointer + comm, shape.size).partition(b"\0")[0].decode("ascii")
            pid = self._word(index, pointer + self._offset("task_struct", "pid"))
        except (LookupError, ValueError):
            return "", 0
        return (name, pid) if name.isprintable() and pid < PIDS else ("", 0)

    def _offset(self, structure: str, member: str) -> int:
        return self.layout.structures[structure].members[member][0]

    def _word(self, index: int, address: int) -> int:
        return words(self._read(index, address, TARGET.word))[0]

    def _read(self, index: int, address: int, size: int) -> bytes:
        """ValueError where there is no memory."""
        data: bytes = self._travel.ask("memory", index, address, size)
        if len(data) < size:
            raise ValueError(f"no memory at {address:#x}")
        return data

    def calls(self, row: CpuRow) -> list[Frame]:
        """How a CPU came to where it is, innermost first, as far as that can be followed; at least where it is."""
        unwinder = self._symbols.unwinder(row.spot)
        here = Frame(row.spot.address, row.spot.function or None, row.spot.file, row.spot.line)
        if unwinder is None or not row.registers.cr0 & PAGING:
            return [here]

        def read(address: int, size: int) -> bytes | None:
            data: bytes = self._travel.ask("memory", row.index, address, size)
            return data if len(data) == size else None

        try:
            return unwinder.backtrace(asdict(row.registers), read)
        except (LookupError, ValueError):
            return [here]

    # Memory.

    def regions(self) -> list[Region]:
        """What is where; in order."""
        first = self._first
        found = [Region("RAM", start, end) for start, end in self._travel.ask("ram")]
        found.append(Region("first kernel", first.base, first.physical_end, 1))
        reserved, areas = self._travel.ask("areas")
        if reserved is not None:
            found.append(Region("reserved region", reserved[0], reserved[1], 1))
        found += [Region(area.name, area.start, area.end, 2) for area in areas]
        return sorted(found, key=lambda region: (region.start, region.inside))


def program_counter(registers: Registers) -> int:
    """The next instruction's address in its segment."""
    return int(getattr(registers, PROGRAM_COUNTER))


def linear(registers: Registers) -> int:
    """Where a CPU's next instruction is."""
    return program_counter(registers) if registers.cr0 & PROTECTED else (registers.cs << 4) + program_counter(registers)


def _doing(status: CpuStatus) -> str:
    """In a word or two."""
    registers = status.registers
    inside = [
        name if times == 1 else f"{name} ×{times}"
        for name, each in groupby(map(_named, status.doing))
        for times in (sum(1 for _ in each),)
    ]
    if status.state not in ("runs", "halted"):
        return status.state
    if status.state == "halted":
        if not getattr(registers, FLAGS) & INTERRUPTS:
            return " > ".join([*inside, "halted for good"])
        return " > ".join([*inside, "halted"])
    if inside:
        return " > ".join(inside)
    if not registers.cr0 & PROTECTED:
        return "real mode"
    if not registers.cr0 & PAGING:
        return "no paging"
    if registers.cs & 3:
        return "ring 3"
    return "kernel"


def _named(event: str) -> str:
    return "system call" if event == SYSTEM_CALL else event


def holds(regions: Sequence[Region], address: int) -> Region | None:
    """The innermost region with a physical address."""
    found: list[Any] = [region for region in regions if region.start <= address < region.end]
    return max(found, key=lambda region: region.inside) if found else None
