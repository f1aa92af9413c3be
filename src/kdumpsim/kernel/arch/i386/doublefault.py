# SPDX-License-Identifier: GPL-2.0-or-later
"""Double faults, which have a task gate (arch/i386/kernel/doublefault.c of 2.6.16; SDM vol. 3, 6.15 and 7.3).

The processor leaves the interrupted registers in the CPU's TSS and goes on with a stack that is sound.  2.6.16 has one
such task for all CPUs, which prints and stops (LKDTT paper, section 2.1.1 and table 2).  With CRASH_STACKS each CPU has
one, and it hands over: what a stack that ran over leads to is an exception that cannot be pushed.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NoReturn, array, asm_value, cast, external, guest, i32, length, ptr, sizeof, u8, u32
from kdumpsim.kernel.arch.i386.apic import safe_smp_processor_id
from kdumpsim.kernel.arch.i386.desc import DOUBLEFAULT_TASKS, DescStruct, TssStruct, doublefault_tss, init_tss
from kdumpsim.kernel.arch.i386.head import swapper_pg_dir
from kdumpsim.kernel.arch.i386.page import PAGE_OFFSET, pa
from kdumpsim.kernel.arch.i386.private_stacks import doublefault_stacks
from kdumpsim.kernel.arch.i386.processor import DescPtr, cpu_relax
from kdumpsim.kernel.arch.i386.ptrace import PtRegs
from kdumpsim.kernel.arch.i386.segment import __KERNEL_CS, __KERNEL_DS, __USER_DS
from kdumpsim.kernel.arch.i386.thread_info import stack_of_cpu
from kdumpsim.kernel.core.config import CRASH_STACKS, FAULT_CHECKS, NR_CPUS, THREAD_SIZE
from kdumpsim.kernel.core.dump import CrashPlace, try_crashdump
from kdumpsim.kernel.core.panic import note_crash
from kdumpsim.kernel.core.printk import bust_spinlocks, printk
from kdumpsim.kernel.core.sched import cpu_rq

DOUBLEFAULT_STACKSIZE: Final = 0 if CRASH_STACKS else 1024
LOW_MEMORY_END: Final = PAGE_OFFSET + 0x0100_0000

doublefault_stack: array[u8] = length(DOUBLEFAULT_STACKSIZE, align=16)
"""The one task's."""
doublefault_regs: array[PtRegs] = length(NR_CPUS)
"""Of each CPU, from its TSS: frames that no processor pushed, so that ESP and SS stand in them."""

doublefault: array[u8] = external()


@guest
def is_doublefault_frame(regs: ptr[PtRegs]) -> bool:
    """Whether a frame is one of `doublefault_regs`."""
    return u32(regs) - u32(doublefault_regs) < len(doublefault_regs) * sizeof(PtRegs)


@guest
def doublefault_dump() -> None:
    """Hand over with the registers that the processor left in this CPU's TSS; comes back if nobody takes a dump."""
    cpu = safe_smp_processor_id()
    stack_of_cpu(doublefault_stacks, cpu).task = cpu_rq(cpu).curr
    tss: ptr[TssStruct] = init_tss[cpu]
    regs: ptr[PtRegs] = doublefault_regs[cpu]
    regs.ebx = tss.ebx
    regs.ecx = tss.ecx
    regs.edx = tss.edx
    regs.esi = tss.esi
    regs.edi = tss.edi
    regs.ebp = tss.ebp
    regs.eax = tss.eax
    regs.xds = tss.ds
    regs.xes = tss.es
    regs.orig_eax = i32(-1)
    regs.eip = tss.eip
    regs.xcs = tss.cs
    regs.eflags = tss.eflags
    regs.esp = tss.esp
    regs.xss = tss.ss
    try_crashdump(CrashPlace.OOPS, regs)


@guest
def looks_like_kernel_pointer(address: u32) -> bool:
    """Whether a table in the low part of the linear map may lie at `address` (doublefault.c ptr_ok)."""
    return address > PAGE_OFFSET and address < LOW_MEMORY_END


@guest
def doublefault_fn() -> NoReturn:
    """The task behind the double fault gate: say what is known, hand over with CRASH_STACKS, and stop this CPU."""
    if CRASH_STACKS:
        if FAULT_CHECKS:
            note_crash("double fault")
            doublefault_dump()
        bust_spinlocks(True)
    gdt: DescPtr = DescPtr()
    asm_value(u32, "sgdt ($1); xorl $0, $0", "=r,r,~{memory},~{cc}", gdt)
    printk(f"<0>double fault, gdt at {gdt.address:08x} [{u32(gdt.size)} bytes]\n")
    if looks_like_kernel_pointer(gdt.address):
        entry = cast(ptr[DescStruct], gdt.address + 16 * 8)
        address: u32 = u32(entry.base_low) | u32(entry.base_middle) << 16 | u32(entry.base_high) << 24
        printk(f"<0>double fault, tss at {address:08x}\n")
        if looks_like_kernel_pointer(address):
            tss = cast(ptr[TssStruct], address)
            printk(f"<0>eip = {tss.eip:08x}, esp = {tss.esp:08x}\n")
            printk(f"<0>eax = {tss.eax:08x}, ebx = {tss.ebx:08x}, ecx = {tss.ecx:08x}, edx = {tss.edx:08x}\n")
            printk(f"<0>esi = {tss.esi:08x}, edi = {tss.edi:08x}\n")
    if CRASH_STACKS:
        doublefault_dump()
    while True:
        cpu_relax()


@guest
def init_doublefault_tss() -> None:
    """Everything the double fault tasks start with: their own stacks, the kernel's page tables."""
    for task in range(DOUBLEFAULT_TASKS):
        stack: u32 = u32(doublefault_stack) + DOUBLEFAULT_STACKSIZE
        if CRASH_STACKS:
            stack = u32(stack_of_cpu(doublefault_stacks, task)) + THREAD_SIZE
        tss: ptr[TssStruct] = doublefault_tss[task]
        tss.ss0 = __KERNEL_DS
        tss.esp0 = stack
        tss.cr3 = pa(u32(swapper_pg_dir))
        tss.eip = u32(doublefault)
        tss.eflags = 0x2
        tss.esp = stack
        tss.cs = __KERNEL_CS
        tss.ss = __KERNEL_DS
        tss.ds = __USER_DS
        tss.es = __USER_DS
