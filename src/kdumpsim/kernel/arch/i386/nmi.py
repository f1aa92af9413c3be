# SPDX-License-Identifier: GPL-2.0-or-later
"""Non-maskable interrupts (do_nmi and friends, arch/i386/kernel/traps.c of 2.6.16).

The handler uses the interrupted task's stack and believes its thread_info, as 2.6.16 does; the LKDTT paper's listing 4
and section 5.2.1 tell what follows from that after a stack overflow.  With NMI_STACKS it has a stack of its own.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import array, cast, fn, guest, i32, length, ptr, u8, u32, void
from kdumpsim.kernel.arch.i386.private_stacks import call_on_private_stack, nmi_stack
from kdumpsim.kernel.arch.i386.processor import inb, outb
from kdumpsim.kernel.arch.i386.ptrace import PtRegs
from kdumpsim.kernel.arch.i386.thread_info import current_thread_info, smp_processor_id
from kdumpsim.kernel.core.config import NR_CPUS, PANIC_ON_UNRECOVERED_NMI
from kdumpsim.kernel.core.hardirq import HARDIRQ_OFFSET
from kdumpsim.kernel.core.panic import panic
from kdumpsim.kernel.core.printk import printk

SYSTEM_CONTROL_PORT: Final = 0x61
NMI_REASON_IOCHK: Final = 0x40
NMI_REASON_MEMORY: Final = 0x80

nmi_count: array[u32] = length(NR_CPUS)


@guest
def dummy_nmi_callback(regs: ptr[PtRegs], cpu: u32) -> i32:
    """Nobody has claimed NMIs."""
    return 0


nmi_callback: fn[[ptr[PtRegs], u32], i32] = dummy_nmi_callback
"""Is asked first; answers 1 if the NMI was its own."""


@guest
def set_nmi_callback(callback: fn[[ptr[PtRegs], u32], i32]) -> None:
    """Have `callback(regs, cpu)` see every NMI."""
    global nmi_callback
    nmi_callback = callback


@guest
def unset_nmi_callback() -> None:
    """Undo set_nmi_callback()."""
    global nmi_callback
    nmi_callback = dummy_nmi_callback


@guest
def nmi_enter() -> None:
    """An NMI counts as a hard interrupt."""
    current_thread_info().preempt_count += HARDIRQ_OFFSET


@guest
def nmi_exit() -> None:
    """Undo nmi_enter(); neither softirqs nor the scheduler run on the way out."""
    current_thread_info().preempt_count -= HARDIRQ_OFFSET


@guest
def no_nmi_watchdog_tick(regs: ptr[PtRegs]) -> bool:
    """There is no watchdog."""
    return False


watchdog_tick: fn[[ptr[PtRegs]], bool] = no_nmi_watchdog_tick
"""Is asked about an NMI the board knows no reason for; whether it was the watchdog's."""


@guest
def set_nmi_watchdog_tick(tick: fn[[ptr[PtRegs]], bool]) -> None:
    """Have the watchdog see NMIs the board knows no reason for."""
    global watchdog_tick
    watchdog_tick = tick


@guest
def default_do_nmi(regs: ptr[PtRegs], cpu: u32) -> None:
    """Find out why from the board's system control port, which is wired to the boot CPU; ask the watchdog; complain."""
    reason: u8 = 0
    if cpu == 0:
        reason = inb(SYSTEM_CONTROL_PORT)
    if reason & NMI_REASON_MEMORY:
        if PANIC_ON_UNRECOVERED_NMI:
            panic("NMI: Not continuing")
        printk(f"<0>Uhhuh. NMI received. Dazed and confused, but trying to continue on CPU {cpu}\n")
        outb(reason & 0xF | 0x4, SYSTEM_CONTROL_PORT)
        return
    if reason & NMI_REASON_IOCHK:
        printk("<0>NMI: IOCK error (debug interrupt?)\n")
        if PANIC_ON_UNRECOVERED_NMI:
            panic("NMI IOCK error: Not continuing")
        outb(reason & 0xF | 0x8, SYSTEM_CONTROL_PORT)
        outb(reason & 0x7, SYSTEM_CONTROL_PORT)
        return
    if watchdog_tick(regs):
        return
    printk(f"<0>Uhhuh. NMI received for unknown reason {u32(reason):02x} on CPU {cpu}.\n")
    if PANIC_ON_UNRECOVERED_NMI:
        panic("NMI: Not continuing")
    printk("<0>Dazed and confused, but trying to continue\n")


@guest
def do_nmi(regs: ptr[PtRegs], error_code: u32) -> None:
    """Vector 2."""
    nmi_enter()
    cpu = smp_processor_id()
    nmi_count[cpu] += 1
    if nmi_callback(regs, cpu) == 0:
        default_do_nmi(regs, cpu)
    nmi_exit()


@guest
def do_nmi_on_stack(regs: ptr[PtRegs], error_code: u32) -> None:
    """Vector 2 with NMI_STACKS: what the watchdog does takes nothing of a stack that may be full."""
    call_on_private_stack(nmi_stack, cast(ptr[void], do_nmi), u32(regs), error_code)
