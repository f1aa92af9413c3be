# SPDX-License-Identifier: GPL-2.0-or-later
"""Restarting and stopping the machine (arch/i386/kernel/reboot.c of 2.6.16)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NoReturn, asm, guest
from kdumpsim.kernel.arch.i386.apic import apic_mapped, lapic_shutdown
from kdumpsim.kernel.arch.i386.delay import udelay
from kdumpsim.kernel.arch.i386.io_apic import disable_IO_APIC
from kdumpsim.kernel.arch.i386.mpparse import mp_config
from kdumpsim.kernel.arch.i386.processor import DescPtr, halt, inb, irqs_disabled, load_idt, local_irq_disable, outb
from kdumpsim.kernel.arch.i386.smp import smp_send_stop
from kdumpsim.kernel.arch.i386.thread_info import current, smp_processor_id
from kdumpsim.kernel.core.hardirq import in_atomic
from kdumpsim.kernel.core.sched import set_cpus_allowed
from kdumpsim.kernel.core.timer import msleep

KBD_COMMAND: Final = 0x64
KBD_INPUT_FULL: Final = 0x02
KBD_PULSE_RESET: Final = 0xFE
REBOOT_CPU: Final = 0
RESET_ATTEMPTS: Final = 10
KB_WAIT_LOOPS: Final = 0x10000

no_idt: DescPtr = DescPtr()


@guest
def kb_wait() -> None:
    """Wait until the keyboard controller takes a command."""
    for _ in range(KB_WAIT_LOOPS):
        if inb(KBD_COMMAND) & KBD_INPUT_FULL == 0:
            return


@guest
def migrate_to_reboot_cpu() -> None:
    """Go on on CPU 0, if the caller is one that can sleep.

    The next kernel starts all other CPUs by INIT, which the boot processor takes for a reset (SDM vol. 3A, 9.4.2).
    """
    if smp_processor_id() != REBOOT_CPU and not in_atomic() and not irqs_disabled():
        set_cpus_allowed(current(), 1 << REBOOT_CPU)
        msleep(1)


@guest
def machine_shutdown() -> None:
    """Stop the other CPUs and take the interrupt controllers back to how the firmware had them."""
    migrate_to_reboot_cpu()
    smp_send_stop()
    lapic_shutdown()
    if mp_config.ioapic_present and apic_mapped:
        disable_IO_APIC()


@guest
def machine_restart() -> NoReturn:
    """Pulse the reset line at the keyboard controller; if that does nothing, shut the processor down (triple fault)."""
    machine_shutdown()
    local_irq_disable()
    while True:
        for _ in range(RESET_ATTEMPTS):
            kb_wait()
            udelay(50)
            outb(KBD_PULSE_RESET, KBD_COMMAND)
            udelay(50)
        load_idt(no_idt)
        asm("int3")


@guest
def machine_halt() -> NoReturn:
    """Stop for good."""
    machine_shutdown()
    local_irq_disable()
    while True:
        halt()
