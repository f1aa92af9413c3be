# SPDX-License-Identifier: GPL-2.0-or-later
"""Shutting a crashed machine down, as little as possible (arch/i386/kernel/crash.c of 2.6.16; kdump paper, 3.3).

Each CPU saves its registers as an ELF note; the crashing one stops the others by NMI, waits a second at most, and
takes the interrupt controllers back to the mode a kernel boots in.  With RELOCATE_CPU the boot CPU does the last part.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NoReturn,
    Struct,
    addr,
    array,
    asm,
    cast,
    extern,
    external,
    fetch_sub,
    guest,
    i32,
    length,
    load_volatile,
    module_asm,
    offsetof,
    ptr,
    sizeof,
    u8,
    u16,
    u32,
    void,
)
from kdumpsim.kernel.arch.i386.apic import (
    APIC_RESTORE_FULL,
    apic_mapped,
    disable_local_APIC,
    lapic_shutdown,
    restore_bios_APIC,
    safe_smp_processor_id,
)
from kdumpsim.kernel.arch.i386.delay import mdelay
from kdumpsim.kernel.arch.i386.desc import set_intr_gate
from kdumpsim.kernel.arch.i386.doublefault import is_doublefault_frame
from kdumpsim.kernel.arch.i386.io_apic import disable_IO_APIC, restore_IO_APIC
from kdumpsim.kernel.arch.i386.machine_kexec import machine_kexec
from kdumpsim.kernel.arch.i386.mpparse import mp_config
from kdumpsim.kernel.arch.i386.multiboot import boot_command_line
from kdumpsim.kernel.arch.i386.nmi import set_nmi_callback
from kdumpsim.kernel.arch.i386.private_stacks import call_on_crash_stack
from kdumpsim.kernel.arch.i386.processor import local_irq_disable, mb
from kdumpsim.kernel.arch.i386.ptrace import PtRegs, user_mode
from kdumpsim.kernel.arch.i386.segment import __KERNEL_CS, __KERNEL_DS, __USER_DS
from kdumpsim.kernel.arch.i386.smp import NMI_VECTOR, cpu_online, num_online_cpus, send_IPI_allbutself
from kdumpsim.kernel.arch.i386.thread_info import current
from kdumpsim.kernel.core.config import APIC_RESTORE, CRASH_NMI, CRASH_STACKS, NR_CPUS, RELOCATE_CPU
from kdumpsim.kernel.core.elf import ElfNote
from kdumpsim.kernel.core.kexec import crash_image, crash_notes
from kdumpsim.kernel.core.kexec_types import KEXEC_NOTE_BYTES
from kdumpsim.kernel.core.sched import cpu_rq
from kdumpsim.kernel.core.string import strlcpy
from kdumpsim.kernel.net.failover import failover_notify

NT_PRSTATUS: Final = 1
NT_PRPSINFO: Final = 3
PRFNSZ: Final = 16
ELF_PRARGSZ: Final = 80
NOTE_NAME_SIZE: Final = 5
"""CORE and its NUL."""
STOP_TIMEOUT_MS: Final = 1000
BOOT_CPU: Final = 0
"""The one that the firmware has chosen: kernels number it first."""
IDLE_LWP: Final = 32768
"""From here on (PID_MAX_DEFAULT) idle tasks are numbered in notes, by CPU."""


class UserRegs(Struct):
    """General registers in the order of core files (struct user_regs_struct)."""

    ebx: u32
    ecx: u32
    edx: u32
    esi: u32
    edi: u32
    ebp: u32
    eax: u32
    xds: u32
    xes: u32
    xfs: u32
    xgs: u32
    orig_eax: u32
    eip: u32
    xcs: u32
    eflags: u32
    esp: u32
    xss: u32


class ElfPrstatus(Struct):
    """The descriptor of NT_PRSTATUS (struct elf_prstatus): 144 bytes, of which readers want pid and registers."""

    si_signo: i32
    si_code: i32
    si_errno: i32
    pr_cursig: u16
    pr_sigpend: u32
    pr_sighold: u32
    pr_pid: i32
    pr_ppid: i32
    pr_pgrp: i32
    pr_sid: i32
    pr_utime: array[u32] = length(2)
    pr_stime: array[u32] = length(2)
    pr_cutime: array[u32] = length(2)
    pr_cstime: array[u32] = length(2)
    pr_reg: UserRegs
    pr_fpvalid: i32


class ElfPrpsinfo(Struct):
    """The descriptor of NT_PRPSINFO (struct elf_prpsinfo): what the core file is of."""

    pr_state: u8
    pr_sname: u8
    pr_zomb: u8
    pr_nice: u8
    pr_flag: u32
    pr_uid: u16
    pr_gid: u16
    pr_pid: i32
    pr_ppid: i32
    pr_pgrp: i32
    pr_sid: i32
    pr_fname: array[u8] = length(PRFNSZ)
    pr_psargs: array[u8] = length(ELF_PRARGSZ)


class CoreNote(Struct):
    """Header and name of the notes of core files."""

    header: ElfNote
    name: array[u8] = length(8)


crash_nmi: array[u8] = external()
"""The gate of NMIs from the crash on; entry.py."""

prstatus_note: CoreNote = CoreNote(
    header=ElfNote(n_namesz=NOTE_NAME_SIZE, n_descsz=sizeof(ElfPrstatus), n_type=NT_PRSTATUS), name=b"CORE"
)
prpsinfo_note: CoreNote = CoreNote(
    header=ElfNote(n_namesz=NOTE_NAME_SIZE, n_descsz=sizeof(ElfPrpsinfo), n_type=NT_PRPSINFO), name=b"CORE"
)
relocating: bool = False
"""The crashing CPU leaves the rest to the boot CPU."""
crashing_cpu: i32 = -1
"""The CPU that runs machine_crash_shutdown()."""
waiting_for_crash_ipi: u32 = 0
"""CPUs that have not saved their registers yet."""

module_asm(f"""
    .cfi_sections .debug_frame
    .text

    # crash_setup_regs(new, old): with an old frame, its copy; without, the caller's registers at this call.
    # In an assembly stub, so that what is saved is the caller's frame, which lives on, and not our own.
    .balign 16
    .globl crash_setup_regs
    .type crash_setup_regs, @function
crash_setup_regs:
    .cfi_startproc
    cmpl $0, 8(%esp)
    jne crash_copy_regs
    pushl %eax
    .cfi_adjust_cfa_offset 4
    movl 8(%esp), %eax
    movl %ebx, {offsetof(PtRegs, "ebx")}(%eax)
    movl %ecx, {offsetof(PtRegs, "ecx")}(%eax)
    movl %edx, {offsetof(PtRegs, "edx")}(%eax)
    movl %esi, {offsetof(PtRegs, "esi")}(%eax)
    movl %edi, {offsetof(PtRegs, "edi")}(%eax)
    movl %ebp, {offsetof(PtRegs, "ebp")}(%eax)
    popl {offsetof(PtRegs, "eax")}(%eax)
    .cfi_adjust_cfa_offset -4
    movl ${__USER_DS}, {offsetof(PtRegs, "xds")}(%eax)
    movl ${__USER_DS}, {offsetof(PtRegs, "xes")}(%eax)
    movl $-1, {offsetof(PtRegs, "orig_eax")}(%eax)
    movl ${__KERNEL_CS}, {offsetof(PtRegs, "xcs")}(%eax)
    movl ${__KERNEL_DS}, {offsetof(PtRegs, "xss")}(%eax)
    pushfl
    .cfi_adjust_cfa_offset 4
    popl {offsetof(PtRegs, "eflags")}(%eax)
    .cfi_adjust_cfa_offset -4
    leal 4(%esp), %ecx
    movl %ecx, {offsetof(PtRegs, "esp")}(%eax)
    movl (%esp), %ecx
    movl %ecx, {offsetof(PtRegs, "eip")}(%eax)
    ret
    .cfi_endproc
    .size crash_setup_regs, . - crash_setup_regs
""")


@extern
def crash_setup_regs(new: ptr[PtRegs], old: ptr[PtRegs]) -> None:
    """The registers to show for a crash: those of the exception, or of the caller if there was none."""


@guest
def crash_copy_regs(new: ptr[PtRegs], old: ptr[PtRegs]) -> None:
    """*new = *old, with ESP and SS as they were for code in ring 0, for which the processor pushes none."""
    new[0] = old[0]
    if not user_mode(old) and not is_doublefault_frame(old):
        new.esp = u32(addr(old.esp))
        new.xss = __KERNEL_DS


@guest
def fill_user_regs(to: ptr[UserRegs], regs: ptr[PtRegs]) -> None:
    """Registers in the order of core files."""
    to.ebx = regs.ebx
    to.ecx = regs.ecx
    to.edx = regs.edx
    to.esi = regs.esi
    to.edi = regs.edi
    to.ebp = regs.ebp
    to.eax = regs.eax
    to.xds = regs.xds & 0xFFFF
    to.xes = regs.xes & 0xFFFF
    to.xfs = 0
    to.xgs = 0
    to.orig_eax = u32(regs.orig_eax)
    to.eip = regs.eip
    to.xcs = regs.xcs & 0xFFFF
    to.eflags = regs.eflags
    to.esp = regs.esp
    to.xss = regs.xss & 0xFFFF


@guest
def crash_save_cpu(regs: ptr[PtRegs], cpu: u32) -> None:
    """Write this CPU's NT_PRSTATUS note, and the null note that ends the list (crash_save_this_cpu)."""
    if cpu >= NR_CPUS:
        return
    note: ptr[CoreNote] = cast(ptr[CoreNote], crash_notes + cpu * KEXEC_NOTE_BYTES)
    note[0] = prstatus_note
    prstatus = cast(ptr[ElfPrstatus], note + 1)
    task = cpu_rq(cpu).curr if CRASH_NMI else current()
    # Idle tasks all have pid 0, but to gdb a thread numbered 0 is no thread, and it shows the first note for it.
    prstatus.pr_pid = task.pid
    if prstatus.pr_pid == 0:
        prstatus.pr_pid = i32(IDLE_LWP + cpu)
    fill_user_regs(prstatus.pr_reg, regs)
    last = cast(ptr[ElfNote], prstatus + 1)
    last[0] = ElfNote()


@guest
def crash_save_psinfo(cpu: u32) -> None:
    """Say after the crashing CPU's registers what crashed, as /proc/kcore does: vmlinux, and its command line."""
    if cpu >= NR_CPUS:
        return
    status: ptr[CoreNote] = cast(ptr[CoreNote], crash_notes + cpu * KEXEC_NOTE_BYTES)
    note: ptr[CoreNote] = cast(ptr[CoreNote], cast(ptr[ElfPrstatus], status + 1) + 1)
    note[0] = prpsinfo_note
    psinfo: ptr[ElfPrpsinfo] = cast(ptr[ElfPrpsinfo], note + 1)
    psinfo[0] = ElfPrpsinfo()
    psinfo.pr_sname = ord("R")
    strlcpy(psinfo.pr_fname, "vmlinux", PRFNSZ)
    strlcpy(psinfo.pr_psargs, boot_command_line, ELF_PRARGSZ)
    last: ptr[ElfNote] = cast(ptr[ElfNote], psinfo + 1)
    last[0] = ElfNote()


@guest
def restore_interrupt_mode() -> None:
    """The interrupt controllers as a kernel expects them, for this CPU, or as the firmware had them."""
    if APIC_RESTORE == 0:
        return
    ioapic = mp_config.ioapic_present and apic_mapped
    if APIC_RESTORE_FULL:
        if ioapic:
            restore_IO_APIC()
        restore_bios_APIC(safe_smp_processor_id())
        return
    lapic_shutdown()
    if ioapic:
        disable_IO_APIC()


@guest
def wait_for_crash_ipi() -> None:
    """Wait until the other CPUs have stopped; those that do not answer within a second are left behind."""
    msecs: u32 = STOP_TIMEOUT_MS
    while load_volatile(addr(waiting_for_crash_ipi)) != 0 and msecs != 0:
        mdelay(1)
        msecs -= 1


@guest
def take_over() -> NoReturn:
    """The boot CPU, at the NMI of another that has crashed: do what is left of machine_crash_shutdown(), and jump.

    It is in an NMI handler, and stays there for all the processor knows: the capture kernel's first IRET ends it.
    """
    wait_for_crash_ipi()
    failover_notify()
    restore_interrupt_mode()
    machine_kexec(crash_image)


@guest
def leave_to_boot_cpu(regs: ptr[PtRegs], cpu: u32) -> NoReturn:
    """Have the boot CPU start the capture kernel, as mkdump does: it takes over when the NMI reaches it.

    If it does not, nobody does: while a CPU is in an NMI handler, other NMIs wait (LKDTT paper, section 7.4).
    """
    global relocating
    crash_save_cpu(regs, cpu)
    crash_save_psinfo(cpu)
    relocating = True
    send_crash_nmi(num_online_cpus())
    disable_local_APIC()
    fetch_sub(addr(waiting_for_crash_ipi), 1)
    asm("hlt")
    while True:
        asm("pause")


@guest
def crash_nmi_callback(regs: ptr[PtRegs], cpu: u32) -> i32:
    """What the other CPUs do when the crashing one sends its NMI: save registers, leave the bus, halt."""
    cpu = safe_smp_processor_id()
    # The crashing CPU itself may get an NMI from a watchdog; it has work to do.
    if i32(cpu) == crashing_cpu:
        return 1
    local_irq_disable()
    fixed_regs: PtRegs = PtRegs()
    crash_copy_regs(fixed_regs, regs)
    crash_save_cpu(fixed_regs, cpu)
    if RELOCATE_CPU and relocating and cpu == BOOT_CPU:
        fetch_sub(addr(waiting_for_crash_ipi), 1)
        take_over()
    disable_local_APIC()
    fetch_sub(addr(waiting_for_crash_ipi), 1)
    # Counted as stopped, it writes nothing more, not even where a call returns to: the dump may be under way already.
    asm("hlt")
    while True:
        asm("pause")
    return 1


@guest
def do_crash_nmi(regs: ptr[PtRegs], error_code: u32) -> None:
    """Vector 2 from the crash on, with CRASH_NMI: do_nmi() without a use of the interrupted stack's thread_info."""
    if CRASH_STACKS:
        call_on_crash_stack(cast(ptr[void], crash_nmi_callback), u32(regs), safe_smp_processor_id())
    else:
        crash_nmi_callback(regs, safe_smp_processor_id())


@guest
def send_crash_nmi(expected: u32) -> None:
    """Stop the other CPUs, wherever they are; as many as `expected` will say so."""
    global waiting_for_crash_ipi
    waiting_for_crash_ipi = expected
    set_nmi_callback(crash_nmi_callback)
    if CRASH_NMI:
        set_intr_gate(NMI_VECTOR, u32(crash_nmi))
    mb()
    send_IPI_allbutself(NMI_VECTOR)


@guest
def nmi_shootdown_cpus() -> None:
    """Stop the other CPUs, and wait for them."""
    send_crash_nmi(num_online_cpus() - 1)
    wait_for_crash_ipi()


@guest
def machine_crash_shutdown(regs: ptr[PtRegs]) -> None:
    """Everything that must happen between a crash and the jump to purgatory, in 2.6.16's order.

    The caller may hold any lock, or none, so nobody here may wait for one.
    """
    global crashing_cpu
    local_irq_disable()
    cpu = safe_smp_processor_id()
    crashing_cpu = i32(cpu)
    if RELOCATE_CPU and cpu != BOOT_CPU and cpu_online(BOOT_CPU):
        leave_to_boot_cpu(regs, cpu)
    nmi_shootdown_cpus()
    failover_notify()
    restore_interrupt_mode()
    crash_save_cpu(regs, cpu)
    crash_save_psinfo(cpu)
