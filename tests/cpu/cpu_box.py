# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare bus with RAM, and a CPU on it started in flat protected mode."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Sequence

from kdumpsim.compiler.assembler import assemble
from kdumpsim.cpu import Cpu, Exit, MmioRegion, Neighbours, RamBlock

RAM = 4 << 20
CODE = 0x10000
IDT = 0x2000
GDT = 0x3000
TSS = 0x4000
TSS_DF = 0x5000
STACK = 0x8000
STACK3 = 0x9000
HANDLERS = 0x20000
KCODE, KDATA, UCODE, UDATA, TSS_SEL, TSS_DF_SEL, CODE16, DATA16 = 0x08, 0x10, 0x1B, 0x23, 0x28, 0x30, 0x38, 0x40


def descriptor(base: int, limit: int, access: int, flags: int) -> bytes:
    value = limit & 0xFFFF | (base & 0xFFFFFF) << 16 | access << 40 | (limit >> 16 & 0xF) << 48
    return struct.pack("<Q", value | flags << 52 | (base >> 24) << 56)


GDT_TABLE = b"".join(
    (
        bytes(8),
        descriptor(0, 0xFFFFF, 0x9B, 0xC),
        descriptor(0, 0xFFFFF, 0x93, 0xC),
        descriptor(0, 0xFFFFF, 0xFB, 0xC),
        descriptor(0, 0xFFFFF, 0xF3, 0xC),
        descriptor(TSS, 0x67, 0x89, 0),
        descriptor(TSS_DF, 0x67, 0x89, 0),
        descriptor(0, 0xFFFF, 0x9B, 0),
        descriptor(0, 0xFFFF, 0x93, 0),
    )
)


def gate(selector: int, offset: int, kind: int, dpl: int = 0, present: bool = True) -> bytes:
    return struct.pack("<HHHH", offset & 0xFFFF, selector, (present << 15) | dpl << 13 | kind << 8, offset >> 16)


class Bus:
    """RAM from 0, a ROM page at 0xF0000, an MMIO page that remembers, ports that remember."""

    ns_per_byte = 32

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, RAM, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        host = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.ram: Sequence[RamBlock] = (
            RamBlock(0, 0xA0000, host),
            RamBlock(0xF0000, 0x1000, host + 0xF0000, writable=False),
            RamBlock(0x100000, RAM - 0x100000, host + 0x100000),
        )
        self.mmio: Sequence[MmioRegion] = (MmioRegion(0xFEE00000, 0x1000),)
        self.log: list[tuple[object, ...]] = []
        self.answer = 0
        self.now = 0
        self.apic = True
        self.on_out = lambda port, value: None

    def time(self) -> int:
        return self.now

    def apic_enabled(self, cpu: int) -> bool:
        return self.apic

    def enable_apic(self, cpu: int, enabled: bool) -> None:
        self.apic = enabled

    def port_in(self, cpu: int, port: int, size: int) -> int:
        self.log.append(("in", port, size))
        return self.answer

    def port_out(self, cpu: int, port: int, size: int, value: int) -> None:
        self.log.append(("out", port, size, value))
        self.on_out(port, value)

    def mmio_read(self, cpu: int, address: int, size: int) -> int:
        self.log.append(("read", address, size))
        return self.answer

    def mmio_write(self, cpu: int, address: int, size: int, value: int) -> None:
        self.log.append(("write", address, size, value))


class Box:
    """A CPU in flat 32-bit protected mode with a GDT, an IDT and a TSS."""

    def __init__(self, neighbours: Neighbours | None = None) -> None:
        self.bus = Bus()
        self.neighbours = neighbours
        self.cpu = Cpu(0, self.bus, bsp=True, neighbours=neighbours)
        self.memory = self.bus.memory
        self.put(GDT, GDT_TABLE)
        self.put(TSS, struct.pack("<3I", 0, STACK, KDATA).ljust(0x64, b"\0") + struct.pack("<I", 0x68 << 16))
        self.cpu.set_registers(
            cr0=0x11, gdtr=(GDT, len(GDT_TABLE) - 1), idtr=(IDT, 0x7FF), cs=KCODE, ss=KDATA, ds=KDATA, es=KDATA,
            fs=KDATA, gs=KDATA, esp=STACK, eip=CODE, eflags=2,
        )  # fmt: skip

    def put(self, address: int, data: bytes) -> None:
        self.memory[address : address + len(data)] = data

    def words(self, address: int, count: int) -> list[int]:
        return list(struct.unpack_from(f"<{count}I", self.memory, address))

    def code(self, text: str, at: int = CODE) -> None:
        self.put(at, assemble(text, at))
        self.cpu.invalidate(at, at + 0x1000)

    def vector(self, number: int, kind: int = 0xE, dpl: int = 0, selector: int = KCODE, present: bool = True) -> int:
        """A gate to a `hlt` of its own; the address of that."""
        at = HANDLERS + number * 16
        self.put(at, b"\xf4")
        self.put(IDT + number * 8, gate(selector, at, kind, dpl, present))
        return at

    def load_tr(self) -> None:
        """Run `ltr`, in a place of its own."""
        eip = self.cpu.registers().eip
        self.code(f"mov ${TSS_SEL:#x}, %ax\nltr %ax\nhlt", 0x30000)
        self.cpu.set_registers(eip=0x30000)
        assert self.cpu.run(1000) is Exit.HALT
        self.cpu.halted = False
        self.cpu.set_registers(eip=eip)

    def run(self, text: str | None = None, limit: int = 10_000) -> Exit:
        if text is not None:
            self.code(text)
        return self.cpu.run(limit)
