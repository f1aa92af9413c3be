# SPDX-License-Identifier: GPL-2.0-or-later
"""Busy waiting (arch/i386/lib/delay.c; calibrate_delay() of init/calibrate.c).

The loop is timed against the PIT's count, not against ticks: it works before interrupts do.  With ``calibrate=ticks``
it is timed against ticks as well, as in 2.6.16: a kernel that gets none from the i8259 then waits for ever, before it
sets up any APIC (LKDTT paper, section 5.2.5).
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import addr, array, asm_value, cstr, guest, i32, length, load_volatile, placed, u32, u64
from kdumpsim.kernel.arch.i386.pit import LATCH, pit_count, stopwatch_elapsed, stopwatch_start
from kdumpsim.kernel.arch.i386.processor import cpu_relax, local_irq_restore, local_irq_save
from kdumpsim.kernel.core.config import HZ
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.setup_param import ObsKernelParam
from kdumpsim.kernel.core.string import strcmp
from kdumpsim.kernel.core.timer import jiffies

FIRST_GUESS: Final = 1 << 8
LONG_ENOUGH: Final = LATCH // 4
"""A measurement is good if it takes a quarter of a jiffy."""

MEASUREMENTS: Final = 5

TICK_PRECISION: Final = 8

calibrate_ticks: bool = False
loops_per_jiffy: u32 = 1 << 12
"""Rounds of the delay loop in a jiffy."""


@guest
def __delay(loops: u32) -> None:
    """Count down.  GENERIC_NOP7 of processor.h, leal 0(,%esi,1),%esi, makes a round longer."""
    asm_value(u32, "1: .byte 0x8d, 0xb4, 0x26, 0, 0, 0, 0; decl $0; jnz 1b", "=r,0,~{cc}", loops)


@guest
def udelay(usecs: u32) -> None:
    """Wait at least so many microseconds, up to some milliseconds."""
    __delay(u32(u64(usecs) * loops_per_jiffy * HZ // 1000000) + 1)


@guest
def mdelay(msecs: u32) -> None:
    """Wait at least so many milliseconds."""
    for _ in range(msecs):
        udelay(1000)


@guest
def pit_wait_tick() -> None:
    """Wait until channel 0 starts a new period: its count jumps up.

    Port accesses are slow, so half of what is left is waited for before each look.
    """
    last = pit_count()
    while True:
        __delay(u32(u64(last) * loops_per_jiffy // (2 * LATCH)) + 1)
        now = pit_count()
        if now > last:
            return
        last = now


@guest
def time_loops(loops: u32) -> u32:
    """How many of the PIT's clocks so many rounds take."""
    stopwatch_start()
    __delay(loops)
    return stopwatch_elapsed()


@guest
def median_time(loops: u32) -> u32:
    """The middle one of several measurements: a virtual CPU may be kept from running during some of them."""
    times: array[u32] = length(MEASUREMENTS)
    for i in range(MEASUREMENTS):
        elapsed = time_loops(loops)
        j: u32 = i
        while j > 0 and times[j - 1] > elapsed:
            times[j] = times[j - 1]
            j -= 1
        times[j] = elapsed
    return times[MEASUREMENTS // 2]


@guest
def tick_passes(loops: u32) -> bool:
    """Whether a tick comes while the loop goes round so often, from a tick on."""
    start: u32 = load_volatile(addr(jiffies))
    while load_volatile(addr(jiffies)) == start:
        cpu_relax()
    __delay(loops)
    return load_volatile(addr(jiffies)) != start + 1


@guest
def calibrate_delay_by_ticks() -> None:
    """The most rounds between two ticks, to eight bits; interrupts are on."""
    global loops_per_jiffy
    if not calibrate_ticks:
        return
    loops: u32 = FIRST_GUESS
    while not tick_passes(loops):
        loops <<= 1
    bit: u32 = loops >> 1
    loops = bit
    for _ in range(TICK_PRECISION):
        bit >>= 1
        if not tick_passes(loops | bit):
            loops |= bit
    loops_per_jiffy = loops
    printk(f"<6>Calibrating delay loop against ticks... lpj={loops_per_jiffy}\n")


@guest
def calibrate_setup(value: cstr) -> i32:
    """calibrate=ticks"""
    global calibrate_ticks
    calibrate_ticks = strcmp(value, "ticks") == 0
    return 0


_param_calibrate: ObsKernelParam = placed("setup_params", ObsKernelParam(str="calibrate=", setup_func=calibrate_setup))


@guest
def calibrate_delay() -> None:
    """Double the number of rounds until they take a good part of a PIT period."""
    global loops_per_jiffy
    loops: u32 = FIRST_GUESS
    elapsed: u32 = 0
    flags = local_irq_save()
    while elapsed < LONG_ENOUGH:
        loops <<= 1
        elapsed = time_loops(loops)
        if elapsed >= LONG_ENOUGH:
            elapsed = median_time(loops)
    local_irq_restore(flags)
    loops_per_jiffy = loops // elapsed * LATCH + loops % elapsed * LATCH // elapsed
    printk(
        f"<6>Calibrating delay loop... {loops_per_jiffy // (500000 // HZ)}."
        f"{loops_per_jiffy // (5000 // HZ) % 100:02} BogoMIPS (lpj={loops_per_jiffy})\n"
    )
