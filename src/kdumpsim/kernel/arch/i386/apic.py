# SPDX-License-Identifier: GPL-2.0-or-later
"""The local APIC: set-up, interrupt modes, timer (arch/i386/kernel/apic.c of 2.6.16; SDM vol. 3, chapter 10).

A PC starts in PIC mode or virtual wire mode, where the i8259s' interrupts reach one CPU through its local APIC
(MP specification 1.4, 3.6.2).  disconnect_bsp_APIC() goes back there on whichever CPU the next kernel will start on.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, array, cast, guest, length, load_volatile, ptr, store_volatile, u8, u32
from kdumpsim.kernel.arch.i386.apicdef import (
    APIC_DFR,
    APIC_DFR_FLAT,
    APIC_DM_EXTINT,
    APIC_DM_NMI,
    APIC_EOI,
    APIC_ESR,
    APIC_ID,
    APIC_ISR,
    APIC_LDR,
    APIC_LVR,
    APIC_LVT0,
    APIC_LVT1,
    APIC_LVT_MASKED,
    APIC_LVT_TIMER_PERIODIC,
    APIC_LVTERR,
    APIC_LVTPC,
    APIC_LVTT,
    APIC_SPIV,
    APIC_SPIV_APIC_ENABLED,
    APIC_TASKPRI,
    APIC_TDCR,
    APIC_TDR_DIV_16,
    APIC_TMCCT,
    APIC_TMICT,
    APIC_VECTOR_MASK,
)
from kdumpsim.kernel.arch.i386.delay import pit_wait_tick
from kdumpsim.kernel.arch.i386.irq_vectors import ERROR_APIC_VECTOR, LOCAL_TIMER_VECTOR, SPURIOUS_APIC_VECTOR
from kdumpsim.kernel.arch.i386.mpparse import APIC_DEFAULT_PHYS_BASE, mp_config
from kdumpsim.kernel.arch.i386.paging import FixedAddress, fix_to_virt, ioremap_fixed
from kdumpsim.kernel.arch.i386.processor import X86_FEATURE_APIC, cpuid, local_irq_restore, local_irq_save, outb
from kdumpsim.kernel.arch.i386.ptrace import PtRegs, user_mode
from kdumpsim.kernel.arch.i386.stack_check import check_stack
from kdumpsim.kernel.arch.i386.thread_info import smp_processor_id
from kdumpsim.kernel.core.config import APIC_RESTORE, HZ, NR_CPUS, SAFE_SMP_PROCESSOR_ID
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.softirq import irq_enter, irq_exit
from kdumpsim.kernel.core.timer import update_process_times

APIC_DIVISOR: Final = 16
CALIBRATION_TICKS: Final = 2
IMCR_SELECT: Final = 0x22
IMCR_DATA: Final = 0x23

APIC_RESTORE_FULL: Final = APIC_RESTORE == 2


class ApicState(Struct):
    """Registers of a local APIC."""

    spiv: u32
    taskpri: u32
    ldr: u32
    dfr: u32
    lvtt: u32
    lvtpc: u32
    lvt0: u32
    lvt1: u32
    lvterr: u32


bios_apic: array[ApicState] = length(NR_CPUS if APIC_RESTORE_FULL else 1)
"""As the firmware left them, by CPU."""
apic_mapped: bool = False
"""Whether this board has local APICs and their registers can be reached."""
using_apic_timer: bool = False
"""Whether ticks for update_process_times() come from each CPU's own timer."""
calibration_result: u32 = 0
"""Local APIC timer counts in a jiffy, after the divider."""
apic_timer_irqs: array[u32] = length(NR_CPUS)
"""Local timer interrupts taken, for /proc/interrupts."""
x86_cpu_to_apicid: array[u8] = length(NR_CPUS)
"""APIC ID of each CPU that was started."""


@guest
def apic_read(register: u32) -> u32:
    """Read a register of this CPU's local APIC."""
    return load_volatile(cast(ptr[u32], fix_to_virt(FixedAddress.FIX_APIC_BASE) + register))


@guest
def apic_write(register: u32, value: u32) -> None:
    """Write a register of this CPU's local APIC."""
    store_volatile(cast(ptr[u32], fix_to_virt(FixedAddress.FIX_APIC_BASE) + register), value)


@guest
def ack_APIC_irq() -> None:
    """End of interrupt."""
    apic_write(APIC_EOI, 0)


@guest
def hard_smp_processor_id() -> u32:
    """This CPU's APIC ID, as the hardware says."""
    return apic_read(APIC_ID) >> 24


@guest
def safe_smp_processor_id() -> u32:
    """Number of the CPU we run on, for a kernel that dies: with SAFE_SMP_PROCESSOR_ID by the APIC ID, as in 2.6.19.

    What thread_info says is overwritten first when a stack runs over.
    """
    if not SAFE_SMP_PROCESSOR_ID:
        return smp_processor_id()
    if apic_mapped:
        apicid = hard_smp_processor_id()
        for cpu in range(NR_CPUS):
            if x86_cpu_to_apicid[cpu] == apicid:
                return cpu
    return 0


@guest
def cpu_has_apic() -> bool:
    """Whether CPUID knows of a local APIC."""
    registers: array[u32] = length(4)
    cpuid(1, registers)
    return registers[3] & X86_FEATURE_APIC != 0


@guest
def init_apic_mappings() -> None:
    """Make the registers reachable."""
    global apic_mapped
    if not cpu_has_apic():
        return
    phys = mp_config.lapic_address
    ioremap_fixed(FixedAddress.FIX_APIC_BASE, phys if phys != 0 else APIC_DEFAULT_PHYS_BASE)
    apic_mapped = True
    save_bios_APIC(0)


@guest
def save_bios_APIC(cpu: u32) -> None:
    """Note how this CPU's local APIC was set before this kernel changes it (LKDTT paper, section 5.2.5)."""
    if not APIC_RESTORE_FULL or not apic_mapped:
        return
    state: ptr[ApicState] = bios_apic[cpu]
    state.spiv = apic_read(APIC_SPIV)
    state.taskpri = apic_read(APIC_TASKPRI)
    state.ldr = apic_read(APIC_LDR)
    state.dfr = apic_read(APIC_DFR)
    state.lvtt = apic_read(APIC_LVTT)
    state.lvtpc = apic_read(APIC_LVTPC)
    state.lvt0 = apic_read(APIC_LVT0)
    state.lvt1 = apic_read(APIC_LVT1)
    state.lvterr = apic_read(APIC_LVTERR)


@guest
def restore_bios_APIC(cpu: u32) -> None:
    """Set this CPU's local APIC as it was; while it is disabled, its entries stay masked (SDM vol. 3, 10.4.7.2)."""
    if not apic_mapped:
        return
    clear_local_APIC()
    state: ptr[ApicState] = bios_apic[cpu]
    apic_write(APIC_SPIV, state.spiv)
    apic_write(APIC_TASKPRI, state.taskpri)
    apic_write(APIC_LDR, state.ldr)
    apic_write(APIC_DFR, state.dfr)
    apic_write(APIC_LVTT, state.lvtt)
    apic_write(APIC_LVTPC, state.lvtpc)
    apic_write(APIC_LVT0, state.lvt0)
    apic_write(APIC_LVT1, state.lvt1)
    apic_write(APIC_LVTERR, state.lvterr)
    if mp_config.pic_mode:
        outb(0x70, IMCR_SELECT)
        outb(0x00, IMCR_DATA)


@guest
def clear_local_APIC() -> None:
    """Mask every local source; the error vector first, for masking may raise one."""
    apic_write(APIC_LVTERR, ERROR_APIC_VECTOR | APIC_LVT_MASKED)
    apic_write(APIC_LVTT, apic_read(APIC_LVTT) | APIC_LVT_MASKED)
    apic_write(APIC_LVT0, apic_read(APIC_LVT0) | APIC_LVT_MASKED)
    apic_write(APIC_LVT1, apic_read(APIC_LVT1) | APIC_LVT_MASKED)
    apic_write(APIC_LVTPC, apic_read(APIC_LVTPC) | APIC_LVT_MASKED)
    apic_write(APIC_LVTT, APIC_LVT_MASKED)
    apic_write(APIC_LVT0, APIC_LVT_MASKED)
    apic_write(APIC_LVT1, APIC_LVT_MASKED)
    apic_write(APIC_LVTERR, APIC_LVT_MASKED)
    apic_write(APIC_LVTPC, APIC_LVT_MASKED)


@guest
def disable_local_APIC() -> None:
    """Take this CPU off the interrupt bus."""
    clear_local_APIC()
    apic_write(APIC_SPIV, apic_read(APIC_SPIV) & ~u32(APIC_SPIV_APIC_ENABLED))


@guest
def lapic_shutdown() -> None:
    """Undo setup_local_APIC() before another kernel takes over."""
    if not apic_mapped:
        return
    flags = local_irq_save()
    clear_local_APIC()
    disable_local_APIC()
    local_irq_restore(flags)


@guest
def connect_bsp_APIC() -> None:
    """Leave PIC mode: the IMCR hands the i8259s' line to the local APIC (MP specification 3.6.2.1)."""
    if mp_config.pic_mode:
        clear_local_APIC()
        outb(0x70, IMCR_SELECT)
        outb(0x01, IMCR_DATA)


@guest
def disconnect_bsp_APIC(virt_wire_setup: bool) -> None:
    """Back to PIC mode, or to virtual wire mode on this CPU.

    With `virt_wire_setup` the I/O APIC passes the i8259s' interrupts on, else this CPU's LINT0 does.
    """
    if mp_config.pic_mode:
        outb(0x70, IMCR_SELECT)
        outb(0x00, IMCR_DATA)
        return
    value = apic_read(APIC_SPIV) & ~u32(APIC_VECTOR_MASK)
    apic_write(APIC_SPIV, value | APIC_SPIV_APIC_ENABLED | 0xF)
    if virt_wire_setup:
        apic_write(APIC_LVT0, APIC_LVT_MASKED)
    else:
        apic_write(APIC_LVT0, APIC_DM_EXTINT)
    apic_write(APIC_LVT1, APIC_DM_NMI)


@guest
def ack_pending_interrupts() -> None:
    """End what a dead kernel left in service, or nothing below its priority would ever get through."""
    for i in range(8):
        word = 7 - i
        value: u32 = apic_read(APIC_ISR + word * 0x10)
        while value != 0:
            ack_APIC_irq()
            value &= value - 1


@guest
def setup_local_APIC() -> None:
    """Symmetric mode for this CPU: flat logical destination, all priorities welcome."""
    cpu = smp_processor_id()
    apic_write(APIC_DFR, APIC_DFR_FLAT)
    apic_write(APIC_LDR, 1 << (24 + cpu))
    apic_write(APIC_TASKPRI, 0)
    ack_pending_interrupts()
    apic_write(APIC_SPIV, APIC_SPIV_APIC_ENABLED | SPURIOUS_APIC_VECTOR)
    value = apic_read(APIC_LVT0) & APIC_LVT_MASKED
    if cpu == 0 and (mp_config.pic_mode or value == 0):
        apic_write(APIC_LVT0, APIC_DM_EXTINT)
    else:
        apic_write(APIC_LVT0, APIC_DM_EXTINT | APIC_LVT_MASKED)
    apic_write(APIC_LVT1, APIC_DM_NMI if cpu == 0 else APIC_DM_NMI | APIC_LVT_MASKED)
    apic_write(APIC_ESR, 0)
    apic_write(APIC_LVTERR, ERROR_APIC_VECTOR)
    apic_write(APIC_ESR, 0)


@guest
def verify_local_APIC() -> bool:
    """Whether something that looks like a local APIC answers."""
    version = apic_read(APIC_LVR)
    return version & 0xFF != 0 and version & 0xFF != 0xFF and version >> 16 & 0xFF >= 2


@guest
def start_APIC_timer(initial_count: u32, flags: u32) -> None:
    """Program the timer (__setup_APIC_LVTT)."""
    apic_write(APIC_LVTT, LOCAL_TIMER_VECTOR | flags)
    apic_write(APIC_TDCR, APIC_TDR_DIV_16)
    apic_write(APIC_TMICT, initial_count)


@guest
def calibrate_APIC_clock() -> u32:
    """Count how far the timer gets in a few of the PIT's ticks; the counts in one jiffy."""
    flags = local_irq_save()
    start_APIC_timer(0xFFFF_FFFF, APIC_LVT_MASKED)
    pit_wait_tick()
    before = apic_read(APIC_TMCCT)
    for _ in range(CALIBRATION_TICKS):
        pit_wait_tick()
    result = (before - apic_read(APIC_TMCCT)) // CALIBRATION_TICKS
    local_irq_restore(flags)
    return result


@guest
def setup_boot_APIC_clock() -> None:
    """Calibrate the local timers and start the boot CPU's."""
    global calibration_result, using_apic_timer
    printk("<6>Using local APIC timer interrupts.\n")
    calibration_result = calibrate_APIC_clock()
    hertz: u32 = calibration_result * HZ * APIC_DIVISOR
    printk(f"<7>..... host bus clock speed is {hertz // 1000000}.{hertz // 100 % 10000:04} MHz.\n")
    using_apic_timer = True
    setup_secondary_APIC_clock()


@guest
def setup_secondary_APIC_clock() -> None:
    """Start this CPU's timer, periodic at HZ."""
    start_APIC_timer(calibration_result, APIC_LVT_TIMER_PERIODIC)


@guest
def smp_apic_timer_interrupt(regs: ptr[PtRegs]) -> None:
    """This CPU's tick."""
    check_stack()
    apic_timer_irqs[smp_processor_id()] += 1
    ack_APIC_irq()
    irq_enter()
    update_process_times(user_mode(regs))
    irq_exit()


@guest
def smp_spurious_interrupt(regs: ptr[PtRegs]) -> None:
    """An interrupt that was gone when the CPU asked for its vector; needs no EOI (SDM vol. 3, 10.9)."""
    irq_enter()
    if apic_read(APIC_ISR + ((SPURIOUS_APIC_VECTOR & ~0x1F) >> 1)) >> (SPURIOUS_APIC_VECTOR & 0x1F) & 1:
        ack_APIC_irq()
    printk(f"<6>spurious APIC interrupt on CPU#{smp_processor_id()}, should never happen.\n")
    irq_exit()


@guest
def highest_in_service() -> u32:
    """The vector that is being served: the highest bit of the ISR."""
    for i in range(8):
        word = 7 - i
        value: u32 = apic_read(APIC_ISR + word * 0x10)
        for bit in range(32):
            if value >> (31 - bit) & 1:
                return word * 32 + 31 - bit
    return 0


@guest
def smp_unexpected_interrupt(regs: ptr[PtRegs]) -> None:
    """A vector nobody has set up.  A capture kernel gets what was pending when its predecessor died (ack_bad_irq)."""
    irq_enter()
    printk(f"<3>unexpected IRQ trap at vector {highest_in_service():02x}\n")
    ack_APIC_irq()
    irq_exit()


@guest
def smp_error_interrupt(regs: ptr[PtRegs]) -> None:
    """The APIC saw an error, such as an illegal vector."""
    irq_enter()
    before = apic_read(APIC_ESR)
    apic_write(APIC_ESR, 0)
    after = apic_read(APIC_ESR)
    ack_APIC_irq()
    printk(f"<7>APIC error on CPU{smp_processor_id()}: {before:02x}({after:02x})\n")
    irq_exit()
