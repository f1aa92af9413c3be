# SPDX-License-Identifier: GPL-2.0-or-later
"""The oracle: what the machine, and only the machine, knows about the crash.

It watches, without touching the guest: the instant at which the kernel begins to die, the NMI that stops each of the
other CPUs, the call of ``crash_kexec``, and the jump to purgatory.  At the crash and at the jump it takes a picture of
RAM and of every CPU's registers; these are what a dump is judged by (:mod:`kdumpsim.vmcore.compare`). From the jump on
it takes down what devices write to RAM outside the reserved region: the first kernel's DMA, which nobody stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from .picture import Picture

if TYPE_CHECKING:
    from kdumpsim.cpu import Registers

INDUCED = "dtt_induce"
DEATHS = ("die", "panic", "crash_kexec")
"""Where a kernel begins to die when nobody induced it."""
CRASH_KEXEC = "crash_kexec"
RAM = 1


class WatchedCpu(Protocol):
    """A CPU, as the oracle looks at it."""

    index: int
    on_nmi: Callable[[Any], None] | None

    def registers(self) -> Registers:
        """What it holds; in `on_nmi`, what it held when it took the NMI."""

    def read_linear(self, address: int, size: int, /) -> bytes | None:
        """Memory through its page tables."""


class MemoryRange(Protocol):
    """An entry of the firmware's memory map."""

    @property
    def base(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def kind(self) -> int: ...


class WatchedMemory(Protocol):
    """RAM, and what the firmware says of it."""

    view: memoryview
    written: Callable[[int, int], None]
    """Told of every range a device wrote, where devices tell."""

    @property
    def e820(self) -> Sequence[MemoryRange]: ...


class WatchedMachine(Protocol):
    """A machine that can be watched."""

    @property
    def clock(self) -> Clock: ...
    @property
    def memory(self) -> WatchedMemory: ...
    @property
    def cpus(self) -> Sequence[WatchedCpu]: ...

    def watch(self, address: int, callback: Callable[[Any], None], /) -> None:
        """Call back with the CPU that is about to run the instruction at a linear address."""


class Clock(Protocol):
    """What time it is in a machine, in ns."""

    @property
    def now(self) -> int: ...


@dataclass(frozen=True)
class Instant:
    """The machine at one instant."""

    time_ns: int
    """Virtual time."""
    cpu: int
    """The CPU that got there."""
    where: str
    """What was being watched."""
    registers: tuple[Registers, ...]
    """Of every CPU."""
    ram: Picture | None = None


class Span(Protocol):
    """Anything with a first address and one past the last."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


@dataclass(frozen=True)
class Region:
    """Physical memory from `start` up to, not including, `end`."""

    start: int
    end: int

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end


@dataclass(frozen=True)
class DmaWrite:
    """A device's write to memory."""

    start: int
    """Physical address."""
    data: bytes


@dataclass
class KexecCall:
    """The call of ``crash_kexec(regs)`` on the crashing CPU."""

    registers: Registers
    """At the function's first instruction."""
    frame: bytes | None
    """The ``struct pt_regs`` it was given; None if it was called with NULL (from panic)."""
    frame_address: int = 0


@dataclass
class Oracle:
    """Watches a machine whose first kernel has these symbols; takes pictures when the time comes.

    Created before the kernel is started; :meth:`watch_jump` is called once a capture kernel has been loaded.
    """

    machine: WatchedMachine
    symbols: Mapping[str, int]
    crash: Instant | None = None
    """The kernel begins to die."""
    jump: Instant | None = None
    """Purgatory's first instruction."""
    kexec_call: KexecCall | None = None
    nmi: dict[int, Registers] = field(default_factory=dict)
    """Registers of each CPU when it took its last NMI after the crash began: none returns from the one that stops it,
    and one before that was a watchdog's."""
    dma: list[DmaWrite] = field(default_factory=list)
    """Of devices, after the jump, outside the reserved region; in order."""
    reserved: Region | None = None
    backup: Region | None = None
    on_crash: Callable[[], None] | None = None
    """Called when the kernel begins to die, after the picture was taken."""
    on_jump: Callable[[], None] | None = None
    """Called at the jump to purgatory, after the picture was taken."""

    def __post_init__(self) -> None:
        for name in (INDUCED, *DEATHS):
            if name in self.symbols:
                self.machine.watch(self.symbols[name], partial(self._dying, name))
        for cpu in self.machine.cpus:
            cpu.on_nmi = self._take_nmi

    def watch_jump(self, entry: int, reserved: Span | None, backup: Span | None = None) -> None:
        """Wait for the jump to purgatory at physical address `entry`.

        `reserved` is the region of the capture kernel, which no dump holds; `backup` the part of it that takes the
        first 640 KiB.
        """
        self.reserved = Region(reserved.start, reserved.end) if reserved is not None else None
        self.backup = Region(backup.start, backup.end) if backup is not None else None
        self.machine.watch(entry, self._jumped)

    @property
    def ram(self) -> list[tuple[int, int]]:
        """(start, end) of the machine's RAM as its firmware reports it."""
        return sorted((e.base, e.base + e.size) for e in self.machine.memory.e820 if e.kind == RAM)

    def _dying(self, name: str, cpu: WatchedCpu) -> None:
        """Something that only a dying kernel calls. A crash induced twice (the first came to nothing) counts anew."""
        if self.jump is not None:
            return
        if self.crash is None or (name == INDUCED == self.crash.where):
            self.crash = self._instant(cpu, name, None)
            self.nmi.clear()
            if self.on_crash is not None:
                self.on_crash()
        if name == CRASH_KEXEC and self.kexec_call is None:
            registers = cpu.registers()
            argument = cpu.read_linear(registers.esp + 4, 4)
            pointer = int.from_bytes(argument or b"", "little")
            frame = cpu.read_linear(pointer, FRAME_BYTES) if pointer else None
            self.kexec_call = KexecCall(registers, frame, pointer)

    def _take_nmi(self, cpu: WatchedCpu) -> None:
        if self.crash is not None and self.jump is None:
            self.nmi[cpu.index] = cpu.registers()

    def _jumped(self, cpu: WatchedCpu) -> None:
        if self.jump is None:
            self.jump = self._instant(cpu, "purgatory", self.crash.ram if self.crash else None)
            self._listen_to_dma()
            if self.on_jump is not None:
                self.on_jump()

    def _listen_to_dma(self) -> None:
        memory, told = self.machine.memory, self.machine.memory.written

        def written(begin: int, end: int) -> None:
            told(begin, end)
            if self.reserved is None or begin not in self.reserved:
                self.dma.append(DmaWrite(begin, bytes(memory.view[begin:end])))

        memory.written = written

    def _instant(self, cpu: WatchedCpu, where: str, earlier: Picture | None) -> Instant:
        picture = Picture(self.machine.memory.view, earlier)
        registers = tuple(other.registers() for other in self.machine.cpus)
        return Instant(self.machine.clock.now, cpu.index, where, registers, picture)


FRAME = (
    "ebx", "ecx", "edx", "esi", "edi", "ebp", "eax", "ds", "es", "orig_eax", "eip", "cs", "eflags", "esp", "ss",
)  # fmt: skip
"""``struct pt_regs`` of i386 in Linux 2.6; the last two are there only if the CPU came from ring 3."""
FRAME_BYTES = 4 * len(FRAME)
