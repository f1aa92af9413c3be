# SPDX-License-Identifier: GPL-2.0-or-later
"""Exceptions (arch/i386/kernel/{traps,doublefault}.c of 2.6.16; SDM vol. 3, chapter 6)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NoReturn,
    addr,
    array,
    asm_value,
    cast,
    external,
    guest,
    length,
    ptr,
    u8,
    u32,
)
from kdumpsim.kernel.arch.i386.apic import init_apic_mappings
from kdumpsim.kernel.arch.i386.desc import (
    DescStruct,
    TssStruct,
    cpu_load_descriptors,
    doublefault_tss,
    set_intr_gate,
    set_system_gate,
    set_task_gate,
    set_trap_gate,
)
from kdumpsim.kernel.arch.i386.head import init_thread_union, swapper_pg_dir
from kdumpsim.kernel.arch.i386.oops import die
from kdumpsim.kernel.arch.i386.page import PAGE_OFFSET, pa
from kdumpsim.kernel.arch.i386.processor import DescPtr, cpu_relax
from kdumpsim.kernel.arch.i386.ptrace import PtRegs
from kdumpsim.kernel.arch.i386.segment import __KERNEL_CS, __KERNEL_DS, __USER_DS, DOUBLEFAULT_SELECTOR
from kdumpsim.kernel.arch.i386.thread_info import smp_processor_id
from kdumpsim.kernel.core.config import THREAD_SIZE
from kdumpsim.kernel.core.printk import printk

DOUBLEFAULT_STACKSIZE: Final = 1024
LOW_MEMORY_END: Final = PAGE_OFFSET + 0x0100_0000

doublefault_stack: array[u8] = length(DOUBLEFAULT_STACKSIZE, align=16)


doublefault: array[u8] = external()
divide_error: array[u8] = external()
debug: array[u8] = external()
nmi: array[u8] = external()
int3: array[u8] = external()
overflow: array[u8] = external()
bounds: array[u8] = external()
invalid_op: array[u8] = external()
device_not_available: array[u8] = external()
coprocessor_segment_overrun: array[u8] = external()
invalid_TSS: array[u8] = external()
segment_not_present: array[u8] = external()
stack_segment: array[u8] = external()
general_protection: array[u8] = external()
page_fault: array[u8] = external()
spurious_interrupt_bug: array[u8] = external()
coprocessor_error: array[u8] = external()
alignment_check: array[u8] = external()
machine_check: array[u8] = external()
simd_coprocessor_error: array[u8] = external()


@guest
def do_divide_error(regs: ptr[PtRegs], error_code: u32) -> None:
    """#DE, vector 0."""
    die("divide error", regs, error_code)


@guest
def do_debug(regs: ptr[PtRegs], error_code: u32) -> None:
    """#DB, vector 1."""
    die("debug", regs, error_code)


@guest
def do_int3(regs: ptr[PtRegs], error_code: u32) -> None:
    """#BP, vector 3."""
    die("int3", regs, error_code)


@guest
def do_overflow(regs: ptr[PtRegs], error_code: u32) -> None:
    """#OF, vector 4."""
    die("overflow", regs, error_code)


@guest
def do_bounds(regs: ptr[PtRegs], error_code: u32) -> None:
    """#BR, vector 5."""
    die("bounds", regs, error_code)


@guest
def do_invalid_op(regs: ptr[PtRegs], error_code: u32) -> None:
    """#UD, vector 6: an undefined instruction, and how BUG() stops the kernel."""
    die("invalid opcode", regs, error_code)


@guest
def do_device_not_available(regs: ptr[PtRegs], error_code: u32) -> None:
    """#NM, vector 7: this kernel saves no coprocessor state, so nobody may use the coprocessor."""
    die("device not available", regs, error_code)


@guest
def do_coprocessor_segment_overrun(regs: ptr[PtRegs], error_code: u32) -> None:
    """Vector 9, of the 386 only."""
    die("coprocessor segment overrun", regs, error_code)


@guest
def do_invalid_TSS(regs: ptr[PtRegs], error_code: u32) -> None:
    """#TS, vector 10."""
    die("invalid TSS", regs, error_code)


@guest
def do_segment_not_present(regs: ptr[PtRegs], error_code: u32) -> None:
    """#NP, vector 11."""
    die("segment not present", regs, error_code)


@guest
def do_stack_segment(regs: ptr[PtRegs], error_code: u32) -> None:
    """#SS, vector 12."""
    die("stack segment", regs, error_code)


@guest
def do_general_protection(regs: ptr[PtRegs], error_code: u32) -> None:
    """#GP, vector 13."""
    die("general protection fault", regs, error_code)


@guest
def do_spurious_interrupt_bug(regs: ptr[PtRegs], error_code: u32) -> None:
    """Vector 15, which old processors raised by mistake: ignored."""


@guest
def do_coprocessor_error(regs: ptr[PtRegs], error_code: u32) -> None:
    """#MF, vector 16."""
    die("coprocessor error", regs, error_code)


@guest
def do_alignment_check(regs: ptr[PtRegs], error_code: u32) -> None:
    """#AC, vector 17."""
    die("alignment check", regs, error_code)


@guest
def do_machine_check(regs: ptr[PtRegs], error_code: u32) -> None:
    """#MC, vector 18."""
    printk(f"<3>CPU#{smp_processor_id()}: Unexpected int18 (Machine Check).\n")


@guest
def do_simd_coprocessor_error(regs: ptr[PtRegs], error_code: u32) -> None:
    """#XM, vector 19."""
    die("simd coprocessor error", regs, error_code)


@guest
def looks_like_kernel_pointer(address: u32) -> bool:
    """Whether a table in the low part of the linear map may lie at `address` (doublefault.c ptr_ok)."""
    return address > PAGE_OFFSET and address < LOW_MEMORY_END


@guest
def doublefault_fn() -> NoReturn:
    """The task behind the double fault gate: say what is known, and stop this CPU.

    As in 2.6.16 this does not lead to a dump (LKDTT paper, section 2.1.1 and table 2).
    """
    gdt: DescPtr = DescPtr()
    asm_value(u32, "sgdt ($1); xorl $0, $0", "=r,r,~{memory},~{cc}", addr(gdt))
    printk(f"<0>double fault, gdt at {gdt.address:08x} [{u32(gdt.size)} bytes]\n")
    if looks_like_kernel_pointer(gdt.address):
        entry: ptr[DescStruct] = cast(ptr[DescStruct], gdt.address + 16 * 8)
        address: u32 = u32(entry.base_low) | u32(entry.base_middle) << 16 | u32(entry.base_high) << 24
        printk(f"<0>double fault, tss at {address:08x}\n")
        if looks_like_kernel_pointer(address):
            tss: ptr[TssStruct] = cast(ptr[TssStruct], address)
            printk(f"<0>eip = {tss.eip:08x}, esp = {tss.esp:08x}\n")
            printk(f"<0>eax = {tss.eax:08x}, ebx = {tss.ebx:08x}, ecx = {tss.ecx:08x}, edx = {tss.edx:08x}\n")
            printk(f"<0>esi = {tss.esi:08x}, edi = {tss.edi:08x}\n")
    while True:
        cpu_relax()


@guest
def init_doublefault_tss() -> None:
    """Everything the double fault task starts with: its own stack, the kernel's page tables."""
    tss = addr(doublefault_tss)
    tss.ss0 = __KERNEL_DS
    tss.esp0 = u32(doublefault_stack) + DOUBLEFAULT_STACKSIZE
    tss.cr3 = pa(u32(swapper_pg_dir))
    tss.eip = u32(doublefault)
    tss.eflags = 0x2
    tss.esp = u32(doublefault_stack) + DOUBLEFAULT_STACKSIZE
    tss.cs = __KERNEL_CS
    tss.ss = __KERNEL_DS
    tss.ds = __USER_DS
    tss.es = __USER_DS


@guest
def trap_init() -> None:
    """Fill in the exceptions' gates and load this CPU's tables; map the local APIC (2.6.16 trap_init)."""
    set_trap_gate(0, u32(divide_error))
    set_intr_gate(1, u32(debug))
    set_intr_gate(2, u32(nmi))
    set_system_gate(3, u32(int3))
    set_system_gate(4, u32(overflow))
    set_system_gate(5, u32(bounds))
    set_trap_gate(6, u32(invalid_op))
    set_trap_gate(7, u32(device_not_available))
    set_task_gate(8, DOUBLEFAULT_SELECTOR)
    set_trap_gate(9, u32(coprocessor_segment_overrun))
    set_trap_gate(10, u32(invalid_TSS))
    set_trap_gate(11, u32(segment_not_present))
    set_trap_gate(12, u32(stack_segment))
    set_trap_gate(13, u32(general_protection))
    set_intr_gate(14, u32(page_fault))
    set_trap_gate(15, u32(spurious_interrupt_bug))
    set_trap_gate(16, u32(coprocessor_error))
    set_trap_gate(17, u32(alignment_check))
    set_trap_gate(18, u32(machine_check))
    set_trap_gate(19, u32(simd_coprocessor_error))
    init_doublefault_tss()
    init_apic_mappings()
    cpu_load_descriptors(0, u32(init_thread_union) + THREAD_SIZE)
