# SPDX-License-Identifier: GPL-2.0-or-later
"""The architecture's interface to the rest of the kernel, as <asm/…> is in Linux; nothing else imports from `arch`.

What needs nothing but the processor is passed on from `arch`.  What `arch` builds upon the rest of the kernel is only
declared, as in a header, so that `arch` may import the rest and the rest need not import `arch`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpsim.compiler.lang import NoReturn, array, extern, external, fn, i32, ptr, u8, u32, u64, usize, void
from kdumpsim.kernel.arch.i386.checksum import csum_partial
from kdumpsim.kernel.arch.i386.elf import ELF_MACHINE
from kdumpsim.kernel.arch.i386.page import PAGE_MASK, PAGE_OFFSET, PAGE_SHIFT, PAGE_SIZE, pa, va
from kdumpsim.kernel.arch.i386.pgtable_types import PAGE_ACCESSED, PAGE_DIRTY, PAGE_PRESENT, PAGE_RW, PAGE_USER
from kdumpsim.kernel.arch.i386.processor import (
    ThreadStruct,
    __ffs,
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
from kdumpsim.kernel.arch.i386.string import clear_words, copy_words
from kdumpsim.kernel.arch.i386.thread_info import (
    TIF_NEED_RESCHED,
    TIF_SIGPENDING,
    ThreadInfo,
    current,
    current_thread_info,
    set_stack_end_magic,
    smp_processor_id,
)
from kdumpsim.kernel.arch.i386.uaccess import __copy_user, access_ok, copy_from_user, copy_to_user, strncpy_from_user

if TYPE_CHECKING:
    from kdumpsim.kernel.core.kexec_types import Kimage
    from kdumpsim.kernel.core.sched_types import TaskStruct
    from kdumpsim.kernel.fs.file_types import SeqFile
    from kdumpsim.kernel.mm.mm_types import MmStruct

__all__ = [
    "ELF_MACHINE", "PAGE_ACCESSED", "PAGE_DIRTY", "PAGE_MASK", "PAGE_OFFSET", "PAGE_PRESENT", "PAGE_RW", "PAGE_SHIFT",
    "PAGE_SIZE", "PAGE_USER", "PtRegs", "TIF_NEED_RESCHED", "TIF_SIGPENDING", "ThreadInfo", "ThreadStruct",
    "__copy_user", "__ffs", "access_ok", "boot_command_line",
    "calibrate_delay_by_ticks", "call_on_crash_stack", "call_softirq", "clear_words",
    "copy_from_user", "copy_to_user", "copy_words", "cpu_idle", "cpu_online", "cpu_relax", "cpuid", "crash_setup_regs",
    "csum_partial", "current", "current_thread_info", "dump_stack", "flush_tlb_kernel_page", "flush_tlb_page",
    "guard_stack", "halt", "inb", "init_IRQ", "inl", "instruction_pointer", "insw", "invlpg", "inw", "irqs_disabled",
    "kern_addr_valid", "kernel_thread_setup", "kmap_atomic_pfn", "kunmap_atomic", "local_irq_disable",
    "local_irq_enable", "local_irq_restore", "local_irq_save", "machine_crash_shutdown", "machine_halt",
    "machine_kexec", "machine_kexec_prepare", "machine_restart", "machine_shutdown", "mb", "mdelay", "num_online_cpus",
    "outb", "outl", "outsw", "outw", "pa", "pcibios_irq", "pgd_alloc", "pgd_free", "pte_alloc", "pte_offset",
    "read_cr0", "read_cr2", "read_cr3", "read_cr4", "reset_alert_counter", "safe_halt", "safe_smp_processor_id",
    "sched_clock", "send_IPI_allbutself", "set_nmi_callback", "set_stack_end_magic", "setup_arch",
    "show_arch_interrupts", "smp_boot_secondaries", "smp_call_function", "smp_prepare_cpus", "smp_processor_id",
    "smp_send_reschedule", "smp_send_stop", "start_thread", "start_user", "strncpy_from_user", "swapper_pg_dir",
    "switch_mm", "switch_to", "task_pt_regs", "time_init", "touch_nmi_watchdog", "trap_init", "udelay", "unguard_stack",
    "unset_nmi_callback", "user_mode", "user_thread_setup", "va", "vmalloc_end", "vmalloc_start", "write_cr0",
    "write_cr3", "write_cr4",
]  # fmt: skip

boot_command_line: array[u8] = external()
swapper_pg_dir: array[u32] = external()


# arch/i386/apic.py


@extern
def safe_smp_processor_id() -> u32:
    """Number of the CPU we run on, for a kernel that dies: with SAFE_SMP_PROCESSOR_ID by the APIC ID, as in 2.6.19.

    What thread_info says is overwritten first when a stack runs over.
    """
    ...


# arch/i386/crash.py


@extern
def crash_setup_regs(new: ptr[PtRegs], old: ptr[PtRegs]) -> None:
    """The registers to show for a crash: those of the exception, or of the caller if there was none."""


@extern
def machine_crash_shutdown(regs: ptr[PtRegs]) -> None:
    """Everything that must happen between a crash and the jump to purgatory, in 2.6.16's order.

    The caller may hold any lock, or none, so nobody here may wait for one.
    """


# arch/i386/delay.py


@extern
def calibrate_delay_by_ticks() -> None:
    """With calibrate=ticks: count loops between two ticks; without ticks it does not come back."""


@extern
def udelay(usecs: u32) -> None:
    """Wait at least so many microseconds, up to some milliseconds."""


@extern
def mdelay(msecs: u32) -> None:
    """Wait at least so many milliseconds."""


# arch/i386/irq.py


@extern
def call_softirq(run: fn[[], None]) -> None:
    """Run softirqs, on the stack that is there for them.  Interrupts are off, and no interrupt is being served."""


# arch/i386/irq_init.py


@extern
def init_IRQ() -> None:
    """Every line belongs to the i8259s at first; no vector is left without a gate.

    A capture kernel finds in the local APIC's IRR what its predecessor did not live to serve.
    """


# arch/i386/irq_show.py


@extern
def show_arch_interrupts(m: ptr[SeqFile]) -> None:
    """What does not come through an interrupt line: NMIs, and each CPU's own timer."""


# arch/i386/io_apic.py


@extern
def pcibios_irq(slot: u32, pin: u32, line: u32) -> u32:
    """The line of a PCI device: by the I/O APIC's pin if that is in use, else what the firmware has noted (`line`).

    2.6.16: pcibios_fixup_irqs() and IO_APIC_get_PCI_irq_vector().
    """
    ...


# arch/i386/machine_kexec.py


@extern
def machine_kexec_prepare(image: ptr[Kimage]) -> i32:
    """The control page must be one that the linear map shows."""
    ...


@extern
def machine_kexec(image: ptr[Kimage]) -> NoReturn:
    """Leave this kernel for the image's start address, with paging off and nothing of ours in use."""
    ...


# arch/i386/nmi.py


@extern
def set_nmi_callback(callback: fn[[ptr[PtRegs], u32], i32]) -> None:
    """Have `callback(regs, cpu)` see every NMI."""


@extern
def unset_nmi_callback() -> None:
    """Undo set_nmi_callback()."""


# arch/i386/nmi_watchdog.py


@extern
def reset_alert_counter() -> None:
    """This CPU is getting something done, if with interrupts off: count from here again."""


@extern
def touch_nmi_watchdog() -> None:
    """A CPU is going to be busy with interrupts off for long: count from here again."""


# arch/i386/oops.py


@extern
def dump_stack() -> None:
    """The call trace of whoever calls this."""


# arch/i386/paging.py


@extern
def vmalloc_start() -> usize:
    """The first address of vmalloc(): well above the linear map, so that what runs over its end faults."""
    ...


@extern
def vmalloc_end() -> usize:
    """The end of vmalloc()'s addresses, for which there are page tables."""
    ...


@extern
def kmap_atomic_pfn(pfn: usize) -> ptr[u8]:
    """Show any page of memory to this CPU for a short while; calls nest, kunmap_atomic() undoes the last one."""
    ...


@extern
def kunmap_atomic() -> None:
    """Give the place of the last kmap_atomic_pfn() back; its old translation stays until the place is used again."""


@extern
def kern_addr_valid(address: usize) -> bool:
    """Whether reading a byte at `address` is safe (arch/i386/mm: the page tables in use are asked)."""
    ...


# arch/i386/pgtable.py


@extern
def pgd_alloc() -> ptr[u32]:
    """A page directory that shows the kernel and nothing else; NULL without memory."""
    ...


@extern
def pgd_free(pgd: ptr[u32]) -> None:
    """Free a page directory and its page tables; the pages must be gone."""


@extern
def pte_offset(pgd: ptr[u32], address: usize) -> ptr[u32]:
    """The page table entry of an address, or NULL where there is no page table."""
    ...


@extern
def pte_alloc(mm: ptr[MmStruct], address: usize) -> ptr[u32]:
    """pte_offset() that makes a page table where there is none; only for the space's own task.  NULL without memory."""
    ...


@extern
def switch_mm(mm: ptr[MmStruct]) -> None:
    """Load an address space on this CPU, or the kernel's own for NULL; preemption is off."""


@extern
def flush_tlb_kernel_page(address: usize) -> None:
    """Forget the translation of one of the kernel's pages everywhere; interrupts are on."""


@extern
def flush_tlb_page(mm: ptr[MmStruct], address: usize) -> None:
    """Forget the translation of one page wherever it is loaded; interrupts are on."""


# arch/i386/process.py


@extern
def switch_to(prev: ptr[TaskStruct], next: ptr[TaskStruct]) -> None:
    """Give the CPU from one task to another; comes back when `prev` gets a CPU again."""


@extern
def start_user(regs: ptr[PtRegs]) -> NoReturn:
    """Leave the kernel for ring 3 with the registers on top of this task's stack (entry.py)."""
    ...


@extern
def kernel_thread_setup(task: ptr[TaskStruct], func: fn[[ptr[void]], i32], arg: ptr[void]) -> None:
    """Make switch_to() start a new task in kernel_thread_start(func, arg)."""


@extern
def task_pt_regs(task: ptr[TaskStruct]) -> ptr[PtRegs]:
    """A process's user registers while it is in the kernel: on top of its stack."""
    ...


@extern
def start_thread(regs: ptr[PtRegs], eip: usize, esp: usize) -> None:
    """The registers with which a program starts."""


@extern
def user_thread_setup(task: ptr[TaskStruct], eip: usize, esp: usize) -> None:
    """Make switch_to() start a new process in ring 3."""


@extern
def cpu_idle() -> NoReturn:
    """The idle task of every CPU; called with preemption off."""
    ...


# arch/i386/private_stacks.py


@extern
def call_on_crash_stack(function: ptr[void], a: usize, b: usize) -> None:
    """Call `function(a, b)` on the stack that this CPU has for the dump route; interrupts are off."""


# arch/i386/reboot.py


@extern
def machine_shutdown() -> None:
    """Stop the other CPUs and take the interrupt controllers back to how the firmware had them."""


@extern
def machine_restart() -> NoReturn:
    """Pulse the reset line at the keyboard controller; if that does nothing, shut the processor down (triple fault)."""
    ...


@extern
def machine_halt() -> NoReturn:
    """Stop for good."""
    ...


# arch/i386/setup.py


@extern
def setup_arch() -> None:
    """What must be known before anything else: command line, memory, page tables (2.6.16 setup_arch)."""


# arch/i386/smp.py


@extern
def cpu_online(cpu: u32) -> bool:
    """Whether this CPU takes part."""
    ...


@extern
def num_online_cpus() -> u32:
    """How many CPUs take part."""
    ...


@extern
def send_IPI_allbutself(vector: u32) -> None:
    """An interrupt for every other CPU."""


@extern
def smp_send_reschedule(cpu: u32) -> None:
    """Make another CPU look at its need_resched flag; called with interrupts off."""


@extern
def smp_call_function(func: fn[[ptr[void]], None], info: ptr[void], wait: bool) -> i32:
    """Have all other CPUs run func(info) in interrupt context; with `wait`, until they are done.

    Must not be called with interrupts off: two callers would wait for each other for ever.
    """
    ...


@extern
def smp_send_stop() -> None:
    """Stop all other CPUs (a panic without a capture kernel, a restart)."""


# arch/i386/smpboot.py


@extern
def smp_prepare_cpus(limit: u32) -> None:
    """Symmetric mode: local APIC, I/O APIC, timers (2.6.16 smp_boot_cpus); the boot CPU only.

    Called with interrupts on, for the timer's way to this CPU is found by trying.
    """


@extern
def smp_boot_secondaries() -> None:
    """Start every other CPU the firmware knows, up to maxcpus=."""


# arch/i386/stack_guard.py


@extern
def guard_stack(stack: ptr[ThreadInfo]) -> None:
    """Unmap the page below a stack."""


@extern
def unguard_stack(stack: ptr[ThreadInfo]) -> None:
    """Map the page below a stack again, before it is given back."""


# arch/i386/time.py


@extern
def time_init() -> None:
    """Start the PIT, take its interrupt, and measure how fast this CPU loops."""


@extern
def sched_clock() -> u64:
    """Nanoseconds since boot, in steps of a tick, as in 2.6.16 on a CPU without TSC."""
    ...


# arch/i386/traps.py


@extern
def trap_init() -> None:
    """Fill in the exceptions' gates and load this CPU's tables; map the local APIC (2.6.16 trap_init)."""
