# SPDX-License-Identifier: GPL-2.0-or-later
"""What a CPU needs of the board it sits on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

PAGE = 4096


@dataclass(frozen=True)
class RamBlock:
    """Page-aligned physical memory backed by host memory; a block that is not writable is a ROM (stores are lost)."""

    base: int
    size: int
    host_address: int
    writable: bool = True

    def __post_init__(self) -> None:
        if self.base % PAGE or self.size % PAGE or self.size <= 0:
            raise ValueError(f"RAM block {self.base:#x}+{self.size:#x} is not made of whole pages")


@dataclass(frozen=True)
class MmioRegion:
    """Page-aligned physical addresses that the bus answers. What is neither RAM nor here reads as all-ones."""

    base: int
    size: int

    def __post_init__(self) -> None:
        if self.base % PAGE or self.size % PAGE or self.size <= 0:
            raise ValueError(f"MMIO region {self.base:#x}+{self.size:#x} is not made of whole pages")


class Counter(Protocol):
    """What a CPU has run, for those who ask often, and for machine code."""

    retired: int
    """Code bytes since power-on (`Cpu.retired`)."""
    zero: int
    """The time (ns) at which it would have retired nothing, had it always run as it does in this turn."""


SharedWords = memoryview
"""64-bit words of writable memory that machine code reads, too."""


@dataclass(frozen=True)
class Shortcuts:
    """What machine code may do in place of the bus (`listings`, "rdtsc", "steady", "port_out"). The board keeps it."""

    tsc: SharedWords | None = None
    """One word, signed: what `CpuBus.time` gave last, to whichever CPU.  Its answer is the time since power-on, but
    more than that, and becomes that."""
    steady: Mapping[int, SharedWords] = field(default_factory=dict)
    """By address of a page of memory-mapped registers: 64 words for those that lie 16 bytes apart.  Each is the
    register's value with bit 32 set, or 0 where the device has to be asked."""
    latches: Mapping[int, SharedWords] = field(default_factory=dict)
    """By port, two at most: where a byte that is written there goes in order, without telling the device: how many
    more may go there, how many have gone, and the bytes."""


class CpuBus(Protocol):
    """Implemented by the Machine; every call names the CPU it comes from.

    A port or address nobody answers reads as all-ones.
    """

    @property
    def ram(self) -> Sequence[RamBlock]: ...

    @property
    def mmio(self) -> Sequence[MmioRegion]: ...

    @property
    def ns_per_byte(self) -> int:
        """Virtual nanoseconds a code byte takes, which are clocks of the processor."""
        ...

    def time(self) -> int:
        """Virtual nanoseconds, for the time stamp counter."""
        ...

    def apic_enabled(self, cpu: int) -> bool:
        """Is its local APIC there (IA32_APIC_BASE bit 11)?"""
        ...

    def enable_apic(self, cpu: int, enabled: bool) -> None: ...

    def port_in(self, cpu: int, port: int, size: int) -> int: ...

    def port_out(self, cpu: int, port: int, size: int, value: int) -> None: ...

    def mmio_read(self, cpu: int, address: int, size: int) -> int: ...

    def mmio_write(self, cpu: int, address: int, size: int, value: int) -> None: ...
