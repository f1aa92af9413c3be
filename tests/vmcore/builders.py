# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine that is only memory, and dumps of it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdumpsim.board.memory import nonzero_pages
from kdumpsim.cpu import Activity
from kdumpsim.mechanisms.kdump import Kdump
from kdumpsim.target import PRSTATUS
from kdumpsim.vmcore.oracle import Oracle, Region

MIB = 1 << 20
RESERVED = Region(2 * MIB, 3 * MIB)
SYMBOLS = {
    "_text": 0xC0100000, "crash_kexec": 0xC0100000, "panic": 0xC0100400, "dtt_induce": 0xC0100800,
    "crash_save_cpu": 0xC0100B00, "cpu_idle": 0xC0100C00, "_etext": 0xC0101000, "log_buf": 0xC0101000,
    "jiffies": 0xC0105000, "crash_notes": 0xC0105010, "_end": 0xC0106000,
}  # fmt: skip
NOTES = tuple(Region(0x105010 + 0x400 * cpu, 0x105410 + 0x400 * cpu) for cpu in range(3))
"""Where the CPUs' notes are."""
JUMP = 0x2F0000
STACK_SIZE = 8192


@dataclass
class FakeRegisters:
    """Registers by name, zero unless said otherwise."""

    values: dict[str, int] = field(default_factory=dict)

    def __getattr__(self, name: str) -> int:
        return self.values.get(name, 0)


@dataclass
class FakeCpu:
    index: int
    machine: FakeMachine
    on_nmi: Callable[[Any], None] | None = None
    values: dict[str, int] = field(default_factory=dict)
    done: Activity | None = None

    def record_activity(self) -> None:
        self.done = Activity(0, ())

    def activity(self) -> Activity:
        return self.done or Activity(0, ())

    def registers(self) -> FakeRegisters:
        return FakeRegisters(dict(self.values))

    def read_linear(self, address: int, size: int) -> bytes | None:
        at = address - 0xC0000000
        return bytes(self.machine.memory.view[at : at + size]) if 0 <= at < len(self.machine.memory.view) else None


@dataclass
class E820:
    base: int
    size: int
    kind: int = 1


@dataclass
class FakeMemory:
    view: memoryview
    e820: list[E820]
    written: Callable[[int, int], None] = lambda begin, end: None
    read: Callable[[int, int], None] | None = None

    def pages(self) -> dict[int, bytes]:
        return nonzero_pages(self.view)

    def dma_read(self, address: int, n: int) -> bytes:
        if self.read is not None:
            self.read(address, address + n)
        return bytes(self.view[address : address + n])

    def dma_write(self, address: int, data: bytes) -> None:
        self.view[address : address + len(data)] = data
        self.written(address, address + len(data))


@dataclass
class Clock:
    now: int = 0


class FakeMachine:
    """What the oracle uses of a Machine; ``reach(cpu, address)`` is a CPU getting to a watched address."""

    def __init__(self, cpus: int = 2, size: int = 4 * MIB, holes: Sequence[E820] = ()) -> None:
        ram = [E820(0, 0x9FC00), E820(0x9FC00, 0x400, 2), E820(MIB, size - MIB)]
        self.memory = FakeMemory(memoryview(bytearray(size)), list(holes) or ram)
        self.clock = Clock()
        self.cpus = [FakeCpu(index, self) for index in range(cpus)]
        self.watches: dict[int, Callable[[Any], None]] = {}
        self.notes: dict[int, bytes] = {}

    def watch(self, address: int, callback: Callable[[Any], None]) -> None:
        assert address not in self.watches
        self.watches[address] = callback

    def reach(self, cpu: int, address: int, **registers: int) -> None:
        self.cpus[cpu].values.update(eip=address, **registers)
        self.watches[address](self.cpus[cpu])

    def nmi(self, cpu: int, **registers: int) -> None:
        self.cpus[cpu].values.update(registers)
        callback = self.cpus[cpu].on_nmi
        assert callback is not None
        callback(self.cpus[cpu])

    def call(self, cpu: int, name: str, esp: int, argument: int, back: int = 0xC0100410) -> None:
        """A CPU gets to a function's first instruction."""
        self.memory.view[esp - 0xC0000000 : esp - 0xC0000000 + 8] = struct.pack("<II", back, argument)
        self.reach(cpu, SYMBOLS[name], esp=esp)

    def save(self, cpu: int, registers: Mapping[str, int], number: int | None = None) -> None:
        """crash_save_cpu(regs, number): a note in the area of the CPU that this one takes itself for."""
        number = cpu if number is None else number
        self.memory.view[0x380D08:0x380D0C] = struct.pack("<I", number)
        self.reach(cpu, SYMBOLS["crash_save_cpu"], esp=0xC0380D00)
        if number < len(NOTES):
            self.notes[number] = written = prstatus(7, registers)
            self.memory.view[NOTES[number].start : NOTES[number].start + len(written)] = written

    def run_on(self, cpu: int, code_bytes: int, writes: Mapping[int, bytes] | None = None) -> None:
        """A CPU runs code that stores bytes at physical addresses."""
        for address, data in (writes or {}).items():
            self.memory.view[address : address + len(data)] = data
        if (done := self.cpus[cpu].done) is not None:
            pages = {*done.pages, *(address & -4096 for address in writes or ())}
            self.cpus[cpu].done = Activity(done.code_bytes + code_bytes, tuple(sorted(pages)))

    @property
    def merged(self) -> bytes:
        """The notes as a capture kernel merges them."""
        return b"".join(data for _, data in sorted(self.notes.items()))


def note(owner: bytes, kind: int, data: bytes) -> bytes:
    """One ELF note."""
    name = owner + b"\0"
    return (
        struct.pack("<III", len(name), len(data), kind)
        + name.ljust(-(-len(name) // 4) * 4, b"\0")
        + data.ljust(-(-len(data) // 4) * 4, b"\0")
    )


def prstatus(pid: int, registers: Mapping[str, int]) -> bytes:
    """The NT_PRSTATUS note of an i386 CPU."""
    words = struct.pack("<17I", *(registers.get(name, 0) for name in PRSTATUS.registers.names))
    return note(b"CORE", 1, bytes(24) + struct.pack("<i", pid) + bytes(44) + words + bytes(4))


def dump(
    view: memoryview,
    ranges: Sequence[tuple[int, int]],
    notes: bytes = b"",
    *,
    bits: int = 32,
    kind: int = 4,
) -> bytes:
    """A core file of `ranges` (start, end) of memory, mapped at 3 GiB."""
    rows = [(4, 0, 0, 0, notes)] if notes else []
    rows += [(1, 7, 0xC0000000 + start, start, bytes(view[start:end])) for start, end in ranges]
    ehdr, phdr = ("<16sHHIIIIIHHHHHH", 32) if bits == 32 else ("<16sHHIQQQIHHHHHH", 56)
    size = struct.calcsize(ehdr)
    ident = b"\x7fELF" + bytes((bits // 32, 1, 1)) + bytes(9)
    out = struct.pack(ehdr, ident, kind, 3, 1, 0, size, 0, 0, size, phdr, len(rows), 0, 0, 0)
    at, body = 4096, b""
    for p_type, flags, vaddr, paddr, data in rows:
        if bits == 32:
            out += struct.pack("<8I", p_type, at, vaddr, paddr, len(data), len(data), flags, 0)
        else:
            out += struct.pack("<IIQQQQQQ", p_type, flags, at, vaddr, paddr, len(data), len(data), 0)
        padded = data.ljust(-(-len(data) // 4096) * 4096, b"\0")
        body += padded
        at += len(padded)
    return out.ljust(4096, b"\0") + body


FULL = ((0, 0xA0000), (MIB, 2 * MIB), (3 * MIB, 4 * MIB))
"""What a good dump of the fake machine holds."""


CRASHING = {"eip": SYMBOLS["crash_kexec"] + 0x20, "esp": 0xC0380E40, "ebp": 0xC0380E7C}
"""Registers that the panicking CPU of `crashed` may truly show."""


def stopped(cpu: int) -> dict[str, int]:
    """Those of a CPU that its NMI stopped."""
    return {"eip": SYMBOLS["cpu_idle"] + 8, "esp": 0xC0370F00 + cpu, "eax": cpu, "cs": 0x60}


def watching(machine: FakeMachine) -> Oracle:
    """An oracle of a machine with a capture kernel loaded."""
    oracle = Oracle(
        machine,  # type: ignore[arg-type]
        SYMBOLS,
        STACK_SIZE,
        Kdump.entry,
        save_cpu=Kdump.save_cpu,
        savers=Kdump.savers,
    )
    oracle.watch_jump(JUMP, RESERVED, NOTES[: len(machine.cpus)], where=Kdump.hand_over)
    return oracle


def crashed(
    machine: FakeMachine, between: Callable[[], None] | None = None, saves: Callable[[], None] | None = None
) -> Oracle:
    """An oracle that has seen a panic on CPU 0, the NMI on the others, all notes written, and the jump to purgatory.

    `saves` writes other notes.
    """
    oracle = watching(machine)
    machine.clock.now = 1000
    machine.reach(0, SYMBOLS["dtt_induce"], esp=0xC0380F00)
    machine.reach(0, SYMBOLS["panic"])
    machine.call(0, "crash_kexec", 0xC0380E80, 0)
    for cpu in machine.cpus[1:]:
        machine.nmi(cpu.index, **stopped(cpu.index))
    if saves is None:
        for cpu in machine.cpus[1:]:
            machine.save(cpu.index, stopped(cpu.index))
        machine.save(0, CRASHING)
    else:
        saves()
    if between is not None:
        between()
    machine.clock.now = 2000
    machine.reach(0, JUMP, esp=0x9000)
    return oracle
