# SPDX-License-Identifier: GPL-2.0-or-later
"""Time: the PIT's interrupt counts jiffies (arch/i386/kernel/time.c of 2.6.16)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, addr, guest, load_volatile, ptr, u32, u64, void
from kdumpsim.kernel.arch.i386.apic import using_apic_timer
from kdumpsim.kernel.arch.i386.delay import calibrate_delay
from kdumpsim.kernel.arch.i386.i8259 import ack_timer_8259A
from kdumpsim.kernel.arch.i386.nmi_watchdog import NMI_IO_APIC, nmi_watchdog
from kdumpsim.kernel.arch.i386.pit import setup_pit_timer
from kdumpsim.kernel.arch.i386.ptrace import PtRegs, user_mode
from kdumpsim.kernel.arch.i386.rtc import get_cmos_time
from kdumpsim.kernel.core.config import HZ
from kdumpsim.kernel.core.irq import setup_irq
from kdumpsim.kernel.core.irq_types import IRQ_HANDLED, SA_INTERRUPT, Irqaction
from kdumpsim.kernel.core.timer import do_timer, jiffies, update_process_times, xtime

NSEC_PER_JIFFY: Final = 1_000_000_000 // HZ


@guest
def timer_interrupt(irq: u32, dev_id: ptr[void], regs: ptr[PtRegs]) -> u32:
    """IRQ 0: one jiffy more.  Until the local APIC timers run, it is the boot CPU's tick as well."""
    if nmi_watchdog == NMI_IO_APIC:
        ack_timer_8259A()
    do_timer()
    if not using_apic_timer:
        update_process_times(user_mode(regs))
    return IRQ_HANDLED


irq0: Irqaction = Irqaction(handler=timer_interrupt, flags=SA_INTERRUPT, name="timer", dev_id=NULL)


@guest
def time_init() -> None:
    """Set the clock, start the PIT, take its interrupt, and measure how fast this CPU loops."""
    xtime.tv_sec = get_cmos_time()
    setup_pit_timer()
    calibrate_delay()
    setup_irq(0, irq0)


@guest
def sched_clock() -> u64:
    """Nanoseconds since boot, in steps of a tick, as in 2.6.16 on a CPU without TSC."""
    return u64(load_volatile(addr(jiffies))) * NSEC_PER_JIFFY
