# SPDX-License-Identifier: GPL-2.0-or-later
"""The NMI watchdog: finds CPUs that take no timer interrupts any more (arch/i386/kernel/nmi.c of 2.6.16).

In the I/O APIC mode (nmi_watchdog=1) the i8259s pass the timer's ticks to the LINT0 pin of every local APIC, besides
the interrupt that counts jiffies, and LINT0 makes an NMI of each (check_timer.py, smpboot.py).  A CPU whose own timer
interrupt has not come between as many NMIs as there are in `watchdog_thresh` seconds is locked up.

In the local APIC mode (nmi_watchdog=2) a performance counter of each processor makes them (perfctr_watchdog.py): HZ
times a second for the test at boot, then once.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    array,
    cstr,
    fn,
    guest,
    i32,
    length,
    load_volatile,
    placed,
    ptr,
    store_volatile,
    u32,
    void,
)
from kdumpsim.kernel.arch.i386.apic import apic_timer_irqs, apic_write, safe_smp_processor_id
from kdumpsim.kernel.arch.i386.apicdef import APIC_DM_NMI, APIC_LVT0
from kdumpsim.kernel.arch.i386.delay import mdelay
from kdumpsim.kernel.arch.i386.nmi import nmi_count, set_nmi_watchdog_tick
from kdumpsim.kernel.arch.i386.oops import show_registers
from kdumpsim.kernel.arch.i386.perfctr_watchdog import cpu_has_p6_counters, rearm_p6_watchdog, setup_p6_watchdog
from kdumpsim.kernel.arch.i386.processor import cpu_relax, local_irq_enable
from kdumpsim.kernel.arch.i386.ptrace import PtRegs, user_mode
from kdumpsim.kernel.arch.i386.smp import NMI_VECTOR, cpu_online, smp_call_function
from kdumpsim.kernel.arch.i386.thread_info import current, smp_processor_id
from kdumpsim.kernel.core.config import FAULT_CHECKS, HZ, NR_CPUS
from kdumpsim.kernel.core.dump import CrashPlace, try_crashdump
from kdumpsim.kernel.core.kthread import do_exit
from kdumpsim.kernel.core.panic import note_crash
from kdumpsim.kernel.core.params import ObsKernelParam
from kdumpsim.kernel.core.printk import bust_spinlocks, console_silent, printk
from kdumpsim.kernel.core.softlockup import touch_softlockup_watchdog, watchdog_thresh
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_unlock
from kdumpsim.kernel.core.string import simple_strtoul
from kdumpsim.kernel.core.timer import msleep
from kdumpsim.kernel.core.types import SIGSEGV

NMI_NONE: Final = 0
NMI_IO_APIC: Final = 1
NMI_LOCAL_APIC: Final = 2

TEST_TICKS: Final = 10
TEST_TICKS_NEEDED: Final = 5

nmi_watchdog: u32 = NMI_NONE
"""Where the watchdog's NMIs come from."""
nmi_hz: u32 = HZ
"""NMIs a second."""
last_irq_sums: array[u32] = length(NR_CPUS)
"""Each CPU's timer interrupts at its last NMI."""
alert_counter: array[u32] = length(NR_CPUS)
"""NMIs since a CPU's last timer interrupt."""
nmi_print_lock: Spinlock = Spinlock(slock=1)
nmi_test_over: u32 = 0
"""Ends nmi_cpu_busy()."""


@guest
def reset_alert_counter() -> None:
    """This CPU is getting something done, if with interrupts off: count from here again."""
    cpu = safe_smp_processor_id()
    if cpu < NR_CPUS:  # an overflow of the stack may have overwritten it
        alert_counter[cpu] = 0


@guest
def touch_nmi_watchdog() -> None:
    """A CPU is going to be busy with interrupts off for long: count from here again."""
    for cpu in range(NR_CPUS):
        alert_counter[cpu] = 0
    touch_softlockup_watchdog()


@guest
def die_nmi(regs: ptr[PtRegs], msg: cstr) -> None:
    """This CPU is stuck: say where, and dump."""
    if FAULT_CHECKS and not user_mode(regs):
        note_crash(msg)
        try_crashdump(CrashPlace.NMI, regs)
    spin_lock(nmi_print_lock)
    bust_spinlocks(True)
    printk(f"<0>{msg:s} on CPU{safe_smp_processor_id()}, eip {regs.eip:08x}, registers:\n")
    show_registers(regs)
    printk("<0>console shuts up ...\n")
    console_silent()
    spin_unlock(nmi_print_lock)
    bust_spinlocks(False)
    # A kernel that is caught here is probably in a bad way; get out while that is possible.
    if not user_mode(regs):
        current().thread.trap_no = NMI_VECTOR
        try_crashdump(CrashPlace.NMI, regs)
    do_exit(SIGSEGV)


@guest
def nmi_watchdog_tick(regs: ptr[PtRegs]) -> bool:
    """An NMI came for no reason the board knows; whether it is the watchdog's, which then looks at this CPU."""
    if nmi_watchdog == NMI_NONE:
        return False
    cpu = smp_processor_id()
    sum: u32 = load_volatile(apic_timer_irqs + cpu)
    if last_irq_sums[cpu] == sum:
        alert_counter[cpu] += 1
        if alert_counter[cpu] == watchdog_thresh * nmi_hz:
            die_nmi(regs, "NMI Watchdog detected LOCKUP")
    else:
        last_irq_sums[cpu] = sum
        alert_counter[cpu] = 0
    if nmi_watchdog == NMI_LOCAL_APIC:
        rearm_p6_watchdog(nmi_hz)
    return True


@guest
def enable_NMI_through_LVT0() -> None:
    """Have LINT0, where the i8259s' interrupts arrive, raise NMIs on this CPU."""
    apic_write(APIC_LVT0, APIC_DM_NMI)


@guest
def setup_nmi() -> None:
    """The timer ticks through the I/O APIC, so LINT0 of the boot CPU is free for the watchdog."""
    printk("<6>activating NMI Watchdog ...")
    set_nmi_watchdog_tick(nmi_watchdog_tick)
    enable_NMI_through_LVT0()
    printk(" done.\n")


@guest
def setup_apic_nmi_watchdog() -> None:
    """Start this CPU's part of the local APIC mode."""
    set_nmi_watchdog_tick(nmi_watchdog_tick)
    setup_p6_watchdog(nmi_hz)


@guest
def no_nmi_watchdog() -> None:
    """There is nothing it could be fed by."""
    global nmi_watchdog
    nmi_watchdog = NMI_NONE


@guest
def nmi_cpu_busy(info: ptr[void]) -> None:
    """Keep a CPU from halting while its counter is tested."""
    local_irq_enable()
    while load_volatile(addr(nmi_test_over)) == 0:
        cpu_relax()


@guest
def wait_for_ticks() -> None:
    """Let TEST_TICKS NMIs come; a performance counter stands still while its CPU is halted."""
    if nmi_watchdog == NMI_LOCAL_APIC:
        smp_call_function(nmi_cpu_busy, NULL, False)
        mdelay(TEST_TICKS * 1000 // HZ)
        store_volatile(addr(nmi_test_over), 1)
    else:
        msleep(TEST_TICKS * 1000 // HZ)


@guest
def check_nmi_watchdog() -> i32:
    """See whether the NMIs come, on every CPU."""
    global nmi_hz
    before: array[u32] = length(NR_CPUS)
    if nmi_watchdog == NMI_NONE:
        return 0
    printk("<6>testing NMI watchdog ... ")
    for cpu in range(NR_CPUS):
        before[cpu] = nmi_count[cpu]
    wait_for_ticks()
    for cpu in range(NR_CPUS):
        if cpu_online(cpu) and nmi_count[cpu] - before[cpu] <= TEST_TICKS_NEEDED:
            printk(f"CPU#{cpu}: NMI appears to be stuck ({before[cpu]}->{nmi_count[cpu]})!\n")
            return -1
    printk("OK.\n")
    if nmi_watchdog == NMI_LOCAL_APIC:
        nmi_hz = 1
    return 0


@guest
def setup_nmi_watchdog(value: cstr) -> i32:
    """nmi_watchdog=0|1|2"""
    global nmi_watchdog
    mode = simple_strtoul(value, NULL, 10)
    if mode > NMI_LOCAL_APIC:
        return 0
    if mode == NMI_LOCAL_APIC and not cpu_has_p6_counters():
        printk("<4>nmi_watchdog=2: this processor has no performance counters that are known\n")
        return 0
    nmi_watchdog = mode
    return 0


_param_nmi_watchdog: ObsKernelParam = placed(
    "setup_params", ObsKernelParam(str="nmi_watchdog=", setup_func=setup_nmi_watchdog)
)
_init_check_nmi_watchdog: fn[[], i32] = placed("initcall7", check_nmi_watchdog)
