# SPDX-License-Identifier: GPL-2.0-or-later
"""Bringing up the other CPUs (arch/i386/kernel/smpboot.c of 2.6.16; MP specification 1.4, appendix B.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import (
    NULL,
    NoReturn,
    addr,
    cast,
    fetch_or,
    guest,
    load_volatile,
    ptr,
    store_volatile,
    u8,
    u16,
    u32,
)
from kdumpsim.kernel.arch.i386.apic import (
    apic_mapped,
    apic_read,
    apic_write,
    connect_bsp_APIC,
    hard_smp_processor_id,
    save_bios_APIC,
    setup_boot_APIC_clock,
    setup_local_APIC,
    setup_secondary_APIC_clock,
    verify_local_APIC,
    x86_cpu_to_apicid,
)
from kdumpsim.kernel.arch.i386.apicdef import (
    APIC_DM_INIT,
    APIC_DM_STARTUP,
    APIC_ESR,
    APIC_ICR,
    APIC_ICR2,
    APIC_INT_ASSERT,
    APIC_INT_LEVELTRIG,
)
from kdumpsim.kernel.arch.i386.check_timer import check_timer
from kdumpsim.kernel.arch.i386.delay import mdelay, udelay
from kdumpsim.kernel.arch.i386.desc import cpu_load_descriptors
from kdumpsim.kernel.arch.i386.head import stack_start
from kdumpsim.kernel.arch.i386.i8259 import disable_8259A_irq, enable_8259A_irq
from kdumpsim.kernel.arch.i386.io_apic import setup_IO_APIC
from kdumpsim.kernel.arch.i386.irq import irq_ctx_init
from kdumpsim.kernel.arch.i386.mcheck import mcheck_init
from kdumpsim.kernel.arch.i386.mpparse import mp_config
from kdumpsim.kernel.arch.i386.nmi_watchdog import (
    NMI_IO_APIC,
    NMI_LOCAL_APIC,
    enable_NMI_through_LVT0,
    nmi_watchdog,
    setup_apic_nmi_watchdog,
)
from kdumpsim.kernel.arch.i386.page import va
from kdumpsim.kernel.arch.i386.paging import load_swapper_pg_dir
from kdumpsim.kernel.arch.i386.private_stacks import private_stacks_init
from kdumpsim.kernel.arch.i386.process import cpu_idle
from kdumpsim.kernel.arch.i386.processor import local_irq_enable, outb
from kdumpsim.kernel.arch.i386.smp import apic_wait_icr_idle, cpu_online_map, num_online_cpus
from kdumpsim.kernel.arch.i386.thread_info import smp_processor_id
from kdumpsim.kernel.arch.i386.trampoline import TRAMPOLINE_BASE, setup_trampoline, trampoline_was_reached
from kdumpsim.kernel.core.config import THREAD_SIZE
from kdumpsim.kernel.core.kthread import fork_idle
from kdumpsim.kernel.core.printk import printk

if TYPE_CHECKING:
    from kdumpsim.kernel.core.sched_types import TaskStruct

CMOS_INDEX: Final = 0x70
CMOS_DATA: Final = 0x71
CMOS_SHUTDOWN_CODE: Final = 0xF
SHUTDOWN_JUMP: Final = 0xA
"""After a reset, jump through the warm reset vector."""
WARM_RESET_VECTOR: Final = 0x467
CALLIN_TIMEOUT_MS: Final = 5000
STARTUP_IPIS: Final = 2

smp_max_cpus: u32 = 1
"""How many CPUs shall take part, from smp_prepare_cpus() on."""


@guest
def cmos_write(value: u8, register: u8) -> None:
    """Write a byte of the real-time clock's memory."""
    outb(register, CMOS_INDEX)
    outb(value, CMOS_DATA)


@guest
def smpboot_setup_warm_reset_vector() -> None:
    """For CPUs that know no start-up IPI: INIT shall lead to the trampoline (MP specification B.4)."""
    cmos_write(SHUTDOWN_JUMP, CMOS_SHUTDOWN_CODE)
    vector = cast(ptr[u16], va(WARM_RESET_VECTOR))
    vector[0] = TRAMPOLINE_BASE & 0xF
    vector[1] = TRAMPOLINE_BASE >> 4


@guest
def smpboot_restore_warm_reset_vector() -> None:
    """Undo smpboot_setup_warm_reset_vector()."""
    cmos_write(0, CMOS_SHUTDOWN_CODE)
    store_volatile(cast(ptr[u32], va(WARM_RESET_VECTOR)), 0)


@guest
def send_init_or_startup(apicid: u32, low: u32) -> None:
    """One IPI by physical destination."""
    apic_write(APIC_ICR2, apicid << 24)
    apic_write(APIC_ICR, low)
    apic_wait_icr_idle()


@guest
def wakeup_secondary_via_INIT(apicid: u32) -> None:
    """INIT, then two start-up IPIs, with the pauses the specification asks for."""
    send_init_or_startup(apicid, APIC_INT_LEVELTRIG | APIC_INT_ASSERT | APIC_DM_INIT)
    mdelay(10)
    send_init_or_startup(apicid, APIC_INT_LEVELTRIG | APIC_DM_INIT)
    for _ in range(STARTUP_IPIS):
        apic_write(APIC_ESR, 0)
        apic_read(APIC_ESR)
        send_init_or_startup(apicid, APIC_DM_STARTUP | TRAMPOLINE_BASE >> 12)
        udelay(300)
        if apic_read(APIC_ESR) & 0xEF:
            printk(f"<4>APIC delivery error while waking CPU with APIC ID {apicid}\n")


@guest
def do_boot_cpu(cpu: u32, apicid: u8) -> bool:
    """Start one CPU and wait for it."""
    idle: ptr[TaskStruct] = fork_idle(cpu)
    if idle == NULL:
        return False
    printk(f"<6>Booting processor {cpu}/{apicid} eip {TRAMPOLINE_BASE:x}\n")
    x86_cpu_to_apicid[cpu] = apicid
    irq_ctx_init(cpu)
    private_stacks_init(cpu)
    store_volatile(addr(stack_start), u32(idle.thread_info) + THREAD_SIZE)
    smpboot_setup_warm_reset_vector()
    wakeup_secondary_via_INIT(apicid)
    for _ in range(CALLIN_TIMEOUT_MS * 10):
        if load_volatile(addr(cpu_online_map)) >> cpu & 1:
            break
        udelay(100)
    smpboot_restore_warm_reset_vector()
    if load_volatile(addr(cpu_online_map)) >> cpu & 1:
        return True
    if trampoline_was_reached():
        printk("<3>Stuck ??\n")
    else:
        printk("<3>Not responding.\n")
    return False


@guest
def start_secondary() -> NoReturn:
    """The first C function of a secondary CPU, on its idle task's stack."""
    cpu = smp_processor_id()
    load_swapper_pg_dir()
    cpu_load_descriptors(cpu, stack_start)
    mcheck_init()
    save_bios_APIC(cpu)
    setup_local_APIC()
    if nmi_watchdog == NMI_LOCAL_APIC:
        setup_apic_nmi_watchdog()
    setup_secondary_APIC_clock()
    if nmi_watchdog == NMI_IO_APIC:
        disable_8259A_irq(0)
        enable_NMI_through_LVT0()
        enable_8259A_irq(0)
    printk(f"<6>CPU{cpu}: online, APIC ID {hard_smp_processor_id()}\n")
    fetch_or(addr(cpu_online_map), 1 << cpu)
    local_irq_enable()
    cpu_idle()


@guest
def smp_prepare_cpus(limit: u32) -> None:
    """Symmetric mode: local APIC, I/O APIC, timers (2.6.16 smp_boot_cpus); the boot CPU only.

    Called with interrupts on, for the timer's way to this CPU is found by trying.
    """
    global smp_max_cpus
    smp_max_cpus = limit
    if not apic_mapped or not verify_local_APIC():
        printk("<5>No local APIC present.\n")
        return
    x86_cpu_to_apicid[0] = u8(hard_smp_processor_id())
    connect_bsp_APIC()
    setup_local_APIC()
    if nmi_watchdog == NMI_LOCAL_APIC:
        setup_apic_nmi_watchdog()
    if mp_config.ioapic_present:
        setup_IO_APIC()
        check_timer()
    setup_boot_APIC_clock()


@guest
def smp_boot_secondaries() -> None:
    """Start every other CPU the firmware knows, up to maxcpus=."""
    if not apic_mapped:
        return
    setup_trampoline()
    cpu: u32 = 1
    for i in range(mp_config.nr_cpus):
        if cpu >= smp_max_cpus or mp_config.cpu_apicid[i] == x86_cpu_to_apicid[0]:
            continue
        if do_boot_cpu(cpu, mp_config.cpu_apicid[i]):
            cpu += 1
    printk(f"<6>Total of {num_online_cpus()} processors activated.\n")
