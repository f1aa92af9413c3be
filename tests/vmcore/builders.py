# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine that is only memory, and dumps of it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdumpsim.vmcore.oracle import Oracle, Region
from kdumpsim.vmcore.reader import REGISTER_NAMES

MIB = 1 << 20
RESERVED = Region(2 * MIB, 3 * MIB)
SYMBOLS = {
    "_text": 0xC0100000, "crash_kexec": 0xC0100000, "panic": 0xC0100400, "dtt_induce": 0xC0100800,
    "cpu_idle": 0xC0100C00, "_etext": 0xC0101000, "log_buf": 0xC0101000, "jiffies": 0xC0105000,
    "crash_notes": 0xC0105010, "_end": 0xC0106000,
}  # fmt: skip


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
    words = struct.pack("<17I", *(registers.get(name, 0) for name in REGISTER_NAMES))
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


def crashed(machine: FakeMachine, between: Callable[[], None] | None = None) -> Oracle:
    """An oracle that has seen a panic on CPU 0, the NMI on the others, and the jump to purgatory."""
    oracle = Oracle(machine, SYMBOLS)  # type: ignore[arg-type]
    oracle.watch_jump(0x2F00000 // 16, RESERVED)
    machine.clock.now = 1000
    machine.reach(0, SYMBOLS["dtt_induce"], esp=0xC0380F00)
    machine.reach(0, SYMBOLS["panic"])
    machine.memory.view[0x380E80:0x380E88] = struct.pack("<II", 0xC0100410, 0)
    machine.reach(0, SYMBOLS["crash_kexec"], esp=0xC0380E80)
    for cpu in machine.cpus[1:]:
        machine.nmi(cpu.index, eip=SYMBOLS["cpu_idle"] + 8, esp=0xC0370F00 + cpu.index, eax=cpu.index, cs=0x60)
    if between is not None:
        between()
    machine.clock.now = 2000
    machine.reach(0, 0x2F00000 // 16, esp=0x9000)
    return oracle


def good_notes(machine: FakeMachine) -> bytes:
    """Notes that agree with :func:`crashed`."""
    notes = prstatus(7, {"eip": SYMBOLS["crash_kexec"] + 0x20, "esp": 0xC0380E40, "ebp": 0xC0380E7C})
    for cpu in machine.cpus[1:]:
        notes += prstatus(0, {name: getattr(cpu.registers(), name) for name in REGISTER_NAMES})
    return notes
