# SPDX-License-Identifier: GPL-2.0-or-later
"""RDMSR, WRMSR and RDPMC of the registers the engine lacks (SDM vol. 2B): the performance counters, those of
machine checks, IA32_APIC_BASE, IA32_EFER (of which NXE is there, as CPUID says), and, for reading, the time stamp
counter.
"""

from __future__ import annotations

from typing import Final

from . import descriptors as x86
from .bus import CpuBus
from .engine import Engine
from .layout import CR4, EAX, ECX, EDX, HF_CPL, HFLAGS
from .machinecheck import MSRS as MACHINE_CHECK
from .machinecheck import MachineCheckBank
from .perfctr import PerformanceCounters
from .sites import APIC_BASE, EFER, RDPMC, TSC, WRMSR

APIC_ADDRESS: Final = 0xFEE00000  # which cannot be moved
APIC_BSP, APIC_ENABLE = 1 << 8, 1 << 11
EFER_NXE: Final = 1 << 11
_APIC_RESERVED: Final = 0xFFFFFFF0_000006FF
_RESERVED: Final = {APIC_BASE: _APIC_RESERVED, EFER: ~EFER_NXE}


class ModelSpecificRegisters:
    """Those of one CPU that are kept here."""

    def __init__(
        self, engine: Engine, bus: CpuBus, counters: PerformanceCounters, bank: MachineCheckBank, *, bsp: bool
    ) -> None:
        self._engine = engine
        self._bus = bus
        self._bsp = bsp
        self._counters = counters
        self._bank = bank

    def execute(self, opcode: int) -> int | None:
        """What the instruction does to the saved context; the vector of the exception it raises, if any."""
        context = self._engine.context
        q, d = context.q, context.d
        number = q[ECX] & 0xFFFFFFFF
        allowed = not d[HFLAGS] & HF_CPL or (opcode == RDPMC and q[CR4] & x86.CR4_PCE)
        if not allowed or (opcode == RDPMC and number > 1):
            return x86.GP
        value = (q[EDX] & 0xFFFFFFFF) << 32 | q[EAX] & 0xFFFFFFFF
        if opcode == WRMSR:
            reserved = value & _RESERVED.get(number, 0)
            return x86.GP if reserved or not self._write(number, value) else None
        retired = self._engine.slice.retired
        value = self._counters.counter(number, retired) if opcode == RDPMC else self._read(number)
        q[EAX], q[EDX] = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
        return None

    def _read(self, number: int) -> int:
        if number == TSC:
            return self._bus.time()
        if number == APIC_BASE:
            enabled = self._bus.apic_enabled(self._engine.index)
            return APIC_ADDRESS | (APIC_BSP if self._bsp else 0) | (APIC_ENABLE if enabled else 0)
        if number == EFER:
            return self._engine.context.q[self._engine.offsets.efer]
        if number in MACHINE_CHECK:
            return self._bank.read(number)
        return self._counters.read(number, self._engine.slice.retired)

    def _write(self, number: int, value: int) -> bool:
        """False for #GP."""
        if number in MACHINE_CHECK:
            return self._bank.write(number, value)
        if number == APIC_BASE:
            self._bus.enable_apic(self._engine.index, bool(value & APIC_ENABLE))
        elif number == EFER:
            self._engine.context.q[self._engine.offsets.efer] = value
            self._engine.empty_tlb()
        else:
            self._counters.write(number, value, self._engine.slice.retired)
        return True
