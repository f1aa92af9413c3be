# SPDX-License-Identifier: GPL-2.0-or-later
"""The architecture's interface to the rest of the kernel, as <asm/…> is in Linux; nothing else imports from `arch`."""

from __future__ import annotations

from kdumpsim.kernel.arch.i386.checksum import csum_partial
from kdumpsim.kernel.arch.i386.crash import ELF_MACHINE, crash_setup_regs, machine_crash_shutdown
from kdumpsim.kernel.arch.i386.delay import mdelay, udelay
from kdumpsim.kernel.arch.i386.irq import call_softirq
from kdumpsim.kernel.arch.i386.irq_init import init_IRQ
from kdumpsim.kernel.arch.i386.irq_show import show_arch_interrupts
from kdumpsim.kernel.arch.i386.machine_kexec import machine_kexec, machine_kexec_prepare
from kdumpsim.kernel.arch.i386.multiboot import boot_command_line
from kdumpsim.kernel.arch.i386.nmi import set_nmi_callback, unset_nmi_callback
from kdumpsim.kernel.arch.i386.nmi_watchdog import reset_alert_counter, touch_nmi_watchdog
from kdumpsim.kernel.arch.i386.oops import dump_stack
from kdumpsim.kernel.arch.i386.page import PAGE_OFFSET, PAGE_SHIFT, PAGE_SIZE, pa, va
from kdumpsim.kernel.arch.i386.paging import (
    PAGE_ACCESSED,
    PAGE_DIRTY,
    PAGE_PRESENT,
    PAGE_RW,
    PAGE_USER,
    ioremap_fixed,
    kern_addr_valid,
    kmap_atomic_pfn,
    kunmap_atomic,
)
from kdumpsim.kernel.arch.i386.pgtable import flush_tlb_page, pgd_alloc, pgd_free, pte_alloc, pte_offset, switch_mm
from kdumpsim.kernel.arch.i386.process import (
    cpu_idle,
    kernel_thread_setup,
    start_thread,
    start_user,
    switch_to,
    task_pt_regs,
    user_thread_setup,
)
from kdumpsim.kernel.arch.i386.processor import (
    ThreadStruct,
    cpu_relax,
    cpuid,
    halt,
    inb,
    inl,
    insw,
    invlpg,
    inw,
    irqs_disabled,
    local_irq_disable,
    local_irq_enable,
    local_irq_restore,
    local_irq_save,
    mb,
    outb,
    outl,
    outsw,
    outw,
    read_cr0,
    read_cr2,
    read_cr3,
    read_cr4,
    safe_halt,
    write_cr0,
    write_cr3,
    write_cr4,
)
from kdumpsim.kernel.arch.i386.ptrace import PtRegs, instruction_pointer, user_mode
from kdumpsim.kernel.arch.i386.reboot import machine_halt, machine_restart, machine_shutdown
from kdumpsim.kernel.arch.i386.setup import setup_arch
from kdumpsim.kernel.arch.i386.smp import (
    cpu_online,
    num_online_cpus,
    send_IPI_allbutself,
    smp_call_function,
    smp_send_reschedule,
    smp_send_stop,
)
from kdumpsim.kernel.arch.i386.smpboot import smp_boot_secondaries, smp_prepare_cpus
from kdumpsim.kernel.arch.i386.string import clear_words, copy_words
from kdumpsim.kernel.arch.i386.thread_info import (
    TIF_NEED_RESCHED,
    TIF_SIGPENDING,
    ThreadInfo,
    current,
    current_thread_info,
    smp_processor_id,
)
from kdumpsim.kernel.arch.i386.time import sched_clock, time_init
from kdumpsim.kernel.arch.i386.traps import trap_init
from kdumpsim.kernel.arch.i386.uaccess import __copy_user, access_ok, copy_from_user, copy_to_user, strncpy_from_user

__all__ = [
    "ELF_MACHINE", "PAGE_ACCESSED", "PAGE_DIRTY", "PAGE_OFFSET", "PAGE_PRESENT", "PAGE_RW", "PAGE_SHIFT", "PAGE_SIZE",
    "PAGE_USER", "PtRegs", "TIF_NEED_RESCHED", "TIF_SIGPENDING", "ThreadInfo", "ThreadStruct", "__copy_user",
    "access_ok", "boot_command_line", "call_softirq", "clear_words", "copy_from_user", "copy_to_user", "copy_words",
    "cpu_idle", "cpu_online", "cpu_relax", "cpuid", "crash_setup_regs", "csum_partial", "current",
    "current_thread_info", "dump_stack", "flush_tlb_page", "halt", "inb", "init_IRQ", "inl", "instruction_pointer",
    "insw", "invlpg", "inw", "ioremap_fixed", "irqs_disabled", "kern_addr_valid", "kernel_thread_setup",
    "kmap_atomic_pfn", "kunmap_atomic", "local_irq_disable", "local_irq_enable", "local_irq_restore", "local_irq_save",
    "machine_crash_shutdown", "machine_halt", "machine_kexec", "machine_kexec_prepare", "machine_restart",
    "machine_shutdown", "mb", "mdelay", "num_online_cpus", "outb", "outl", "outsw", "outw", "pa", "pgd_alloc",
    "pgd_free", "pte_alloc", "pte_offset", "read_cr0", "read_cr2", "read_cr3", "read_cr4", "reset_alert_counter",
    "safe_halt", "sched_clock",
    "send_IPI_allbutself", "set_nmi_callback", "setup_arch", "show_arch_interrupts", "smp_boot_secondaries",
    "smp_call_function", "smp_prepare_cpus", "smp_processor_id", "smp_send_reschedule", "smp_send_stop", "start_thread",
    "start_user", "strncpy_from_user", "switch_mm", "switch_to", "task_pt_regs", "time_init", "touch_nmi_watchdog",
    "trap_init", "udelay", "unset_nmi_callback", "user_mode", "user_thread_setup", "va", "write_cr0", "write_cr3",
    "write_cr4",
]  # fmt: skip
