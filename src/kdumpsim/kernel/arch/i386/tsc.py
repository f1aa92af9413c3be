# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast this CPU's clock runs (arch/i386/kernel/timers/common.c of 2.6.16)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import guest, u32
from kdumpsim.kernel.arch.i386.delay import pit_wait_tick
from kdumpsim.kernel.arch.i386.pit import CLOCK_TICK_RATE, LATCH
from kdumpsim.kernel.arch.i386.processor import local_irq_restore, local_irq_save, rdtsc
from kdumpsim.kernel.core.printk import printk

CALIBRATION_TICKS: Final = 5

cpu_khz: u32 = 0
"""Thousands of clocks a second; 0 before calibrate_tsc()."""


@guest
def calibrate_tsc() -> None:
    """Count the time stamp counter over some ticks of the PIT."""
    global cpu_khz
    flags = local_irq_save()
    pit_wait_tick()
    start = rdtsc()
    for _ in range(CALIBRATION_TICKS):
        pit_wait_tick()
    clocks = rdtsc() - start
    local_irq_restore(flags)
    cpu_khz = u32(clocks * CLOCK_TICK_RATE // (CALIBRATION_TICKS * LATCH) // 1000)
    printk(f"Detected {cpu_khz // 1000}.{cpu_khz % 1000:03} MHz processor.\n")
