# SPDX-License-Identifier: GPL-2.0-or-later
"""RDMSR, WRMSR and RDPMC of the registers the engine lacks (SDM vol. 2B): the performance counters, IA32_APIC_BASE,
and the time stamp counter for reading.

The slice has ended in front of the instruction (`msr_sites.py`), and it is carried out on the saved context.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from . import descriptors as x86
from .bus import CpuBus
from .engine import Engine
from .layout import CR4, CS, EAX, ECX, EDX, EFLAGS, EIP, FLAGS, HF_CPL, HF_INHIBIT_IRQ, HFLAGS
from .msr_sites import APIC_BASE, OPCODES, PREFIXES, RDPMC, TSC, WRMSR
from .perfctr import PerformanceCounters

MAX_INSTRUCTION: Final = 15

APIC_ADDRESS: Final = 0xFEE00000  # which cannot be moved
APIC_BSP, APIC_ENABLE = 1 << 8, 1 << 11
_APIC_RESERVED: Final = 0xFFFFFFF0_000006FF


def _decode(code: bytes) -> tuple[int, int]:
    """(opcode, length) if an instruction is one of the three, prefixes and all; else (0, 0)."""
    at = 0
    while at < len(code) and code[at] in PREFIXES:
        at += 1
    if len(code) >= at + 2 and code[at] == 0x0F and code[at + 1] in OPCODES:
        return code[at + 1], at + 2
    return 0, 0


class MsrInstructions:
    """Carries them out for one CPU. `read_linear(address, size)` reads its memory; None where nothing is mapped."""

    def __init__(
        self,
        engine: Engine,
        bus: CpuBus,
        counters: PerformanceCounters,
        read_linear: Callable[[int, int], bytes | None],
        *,
        bsp: bool,
    ) -> None:
        self._engine = engine
        self._bus = bus
        self._bsp = bsp
        self._counters = counters
        self._read_linear = read_linear

    def execute(self) -> int | None:
        """The instruction at EIP; the vector of the exception it raises, if any, whose error code is 0."""
        engine, shared, counters = self._engine, self._engine.slice, self._counters
        q, d = engine.context.q, engine.context.d
        at = engine.linear_eip()
        opcode, length = _decode(self._code(at))
        if not opcode:  # this was the place of one, and is no longer
            engine.msr_sites.forget(at, at + MAX_INSTRUCTION)
            engine.flush_code_pending = True
            return None
        number = q[ECX] & 0xFFFFFFFF
        allowed = not d[HFLAGS] & HF_CPL or (opcode == RDPMC and q[CR4] & x86.CR4_PCE)
        if not allowed or (opcode == RDPMC and number > 1):
            return x86.GP
        value = (q[EDX] & 0xFFFFFFFF) << 32 | q[EAX] & 0xFFFFFFFF
        if opcode == WRMSR and number == APIC_BASE and value & _APIC_RESERVED:
            return x86.GP
        shared.retired += length
        if opcode == WRMSR:
            self._write(number, value)
        else:
            value = counters.counter(number, shared.retired) if opcode == RDPMC else self._read(number)
            q[EAX], q[EDX] = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
        q[EIP] = q[EIP] + length & (0xFFFFFFFF if d[FLAGS[CS]] & x86.BIG else 0xFFFF)
        q[EFLAGS] &= ~x86.RF
        d[HFLAGS] &= ~HF_INHIBIT_IRQ
        engine.dirty = True
        if q[EFLAGS] & x86.TF:
            engine.set_single_stepped()
            return x86.DB
        return None

    def _read(self, number: int) -> int:
        if number == TSC:
            return self._bus.time()
        if number == APIC_BASE:
            enabled = self._bus.apic_enabled(self._engine.index)
            return APIC_ADDRESS | (APIC_BSP if self._bsp else 0) | (APIC_ENABLE if enabled else 0)
        return self._counters.read(number, self._engine.slice.retired)

    def _write(self, number: int, value: int) -> None:
        if number == APIC_BASE:
            self._bus.enable_apic(self._engine.index, bool(value & APIC_ENABLE))
        else:
            self._counters.write(number, value, self._engine.slice.retired)

    def _code(self, address: int) -> bytes:
        """As much of an instruction as is mapped."""
        room = min(MAX_INSTRUCTION, 0x1000 - (address & 0xFFF))
        rest = self._read_linear(address + room & 0xFFFFFFFF, MAX_INSTRUCTION - room)
        return (self._read_linear(address, room) or b"") + (rest or b"")
