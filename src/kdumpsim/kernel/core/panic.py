# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of a kernel (kernel/panic.c, the last part of die() in arch/i386/kernel/traps.c).

The order of events is 2.6.16's; with FAULT_CHECKS the dump comes before the printing.  Nothing here takes a lock that
the dying context might hold.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, NoReturn, array, cast, cstr, guest, i32, length, placed, ptr, u8, u32, usize
from kdumpsim.kernel.architecture import local_irq_enable, machine_restart, mdelay, smp_send_stop, touch_nmi_watchdog
from kdumpsim.kernel.core.config import FAULT_CHECKS
from kdumpsim.kernel.core.dump import CrashPlace, try_crashdump
from kdumpsim.kernel.core.params import ObsKernelParam
from kdumpsim.kernel.core.printk import bust_spinlocks, printk
from kdumpsim.kernel.core.spinlock import preempt_disable
from kdumpsim.kernel.core.string import simple_strtoul, strlcpy
from kdumpsim.kernel.core.vsprintf import vsnprintf

PANIC_TEXT: Final = 256

panic_timeout: u32 = 0
"""Seconds until a panicked kernel restarts the machine; 0 means never (panic=n)."""
panic_on_oops: u32 = 0
"""Whether every oops is fatal (oops=panic, panic_on_oops=1)."""
panic_buf: array[u8] = length(PANIC_TEXT)
"""The reason of the panic, for whoever looks at the dump."""


@guest
def panic(fmt: cstr, *args: usize) -> NoReturn:
    """Give up: say why, have a dump taken if there is a mechanism for it, else stop all CPUs."""
    preempt_disable()
    vsnprintf(panic_buf, PANIC_TEXT, fmt, cast(ptr[usize], args))
    if FAULT_CHECKS:
        try_crashdump(CrashPlace.PANIC, NULL)
    bust_spinlocks(True)
    printk(f"<0>Kernel panic - not syncing: {panic_buf:s}\n")
    bust_spinlocks(False)
    try_crashdump(CrashPlace.PANIC, NULL)
    smp_send_stop()
    if panic_timeout > 0:
        printk(f"<0>Rebooting in {panic_timeout} seconds..")
        for _ in range(panic_timeout * 1000):
            touch_nmi_watchdog()
            mdelay(1)
        machine_restart()
    local_irq_enable()
    while True:
        mdelay(1)


@guest
def note_crash(reason: cstr) -> None:
    """Leave a reason where panic() leaves its own."""
    strlcpy(panic_buf, reason, PANIC_TEXT)


@guest
def setup_panic(value: cstr) -> i32:
    """panic=seconds"""
    global panic_timeout
    panic_timeout = simple_strtoul(value, NULL, 10)
    return 0


@guest
def setup_oops(value: cstr) -> i32:
    """oops=panic"""
    global panic_on_oops
    if value[0] == ord("p"):
        panic_on_oops = 1
    return 0


@guest
def setup_panic_on_oops(value: cstr) -> i32:
    """panic_on_oops=0|1, named like the sysctl"""
    global panic_on_oops
    panic_on_oops = simple_strtoul(value, NULL, 10)
    return 0


_param_panic: ObsKernelParam = placed("setup_params", ObsKernelParam(str="panic=", setup_func=setup_panic))
_param_oops: ObsKernelParam = placed("setup_params", ObsKernelParam(str="oops=", setup_func=setup_oops))
_param_panic_on_oops: ObsKernelParam = placed(
    "setup_params", ObsKernelParam(str="panic_on_oops=", setup_func=setup_panic_on_oops)
)
