# SPDX-License-Identifier: GPL-2.0-or-later
"""NMIs from a performance counter, for nmi_watchdog=2 (arch/i386/kernel/nmi.c of 2.6.16; SDM vol. 3, P6 family).

The counter counts the clocks in which its CPU is not halted, and interrupts when it passes zero.  An idle CPU therefore
gets no NMIs, which does no harm: it is not stuck.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import array, guest, length, u32, u64
from kdumpsim.kernel.arch.i386.apic import apic_write
from kdumpsim.kernel.arch.i386.apicdef import APIC_DM_NMI, APIC_LVTPC
from kdumpsim.kernel.arch.i386.processor import cpuid, wrmsr
from kdumpsim.kernel.arch.i386.tsc import calibrate_tsc, cpu_khz

MSR_P6_PERFCTR0: Final = 0xC1
MSR_P6_EVNTSEL0: Final = 0x186
P6_COUNTERS: Final = 2
P6_EVNTSEL_USR: Final = 1 << 16
P6_EVNTSEL_OS: Final = 1 << 17
P6_EVNTSEL_INT: Final = 1 << 20
P6_EVNTSEL0_ENABLE: Final = 1 << 22
P6_EVENT_CPU_CLOCKS_NOT_HALTED: Final = 0x79

VENDOR_INTEL: Final = 0x756E6547
"""The first letters of GenuineIntel."""
LAST_P6_MODEL: Final = 0xD


@guest
def cpu_has_p6_counters() -> bool:
    """Whether this is a processor of Intel's P6 family, up to the Pentium M."""
    registers: array[u32] = length(4)
    cpuid(0, registers)
    if registers[1] != VENDOR_INTEL:
        return False
    cpuid(1, registers)
    return registers[0] >> 8 & 0xF == 6 and registers[0] >> 4 & 0xF <= LAST_P6_MODEL


@guest
def write_watchdog_counter(hz: u32) -> None:
    """Have the counter overflow after a part of a second's clocks."""
    wrmsr(MSR_P6_PERFCTR0, 0 - u64(cpu_khz) * 1000 // hz)


@guest
def setup_p6_watchdog(hz: u32) -> None:
    """Start this CPU's counter, with an NMI `hz` times a second of its running time."""
    if cpu_khz == 0:
        calibrate_tsc()
    for i in range(P6_COUNTERS):
        wrmsr(MSR_P6_EVNTSEL0 + i, 0)
        wrmsr(MSR_P6_PERFCTR0 + i, 0)
    select: u32 = P6_EVNTSEL_INT | P6_EVNTSEL_OS | P6_EVNTSEL_USR | P6_EVENT_CPU_CLOCKS_NOT_HALTED
    wrmsr(MSR_P6_EVNTSEL0, select)
    write_watchdog_counter(hz)
    apic_write(APIC_LVTPC, APIC_DM_NMI)
    wrmsr(MSR_P6_EVNTSEL0, select | P6_EVNTSEL0_ENABLE)


@guest
def rearm_p6_watchdog(hz: u32) -> None:
    """After each NMI: the local APIC has masked the entry, and the counter has gone on from zero."""
    apic_write(APIC_LVTPC, APIC_DM_NMI)
    write_watchdog_counter(hz)
