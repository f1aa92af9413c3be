# SPDX-License-Identifier: GPL-2.0-or-later
"""Exceptions (arch/i386/kernel/{traps,doublefault}.c of 2.6.16; SDM vol. 3, chapter 6)."""

from __future__ import annotations

from kdumpsim.compiler.lang import array, cstr, external, guest, ptr, u8, u32
from kdumpsim.kernel.arch.i386.apic import init_apic_mappings
from kdumpsim.kernel.arch.i386.desc import (
    cpu_load_descriptors,
    set_intr_gate,
    set_system_gate,
    set_task_gate,
    set_trap_gate,
)
from kdumpsim.kernel.arch.i386.doublefault import init_doublefault_tss
from kdumpsim.kernel.arch.i386.head import init_thread_union
from kdumpsim.kernel.arch.i386.irq_vectors import SYSCALL_VECTOR
from kdumpsim.kernel.arch.i386.mcheck import mcheck_init
from kdumpsim.kernel.arch.i386.oops import bad_current, die
from kdumpsim.kernel.arch.i386.processor import local_irq_enable
from kdumpsim.kernel.arch.i386.ptrace import PtRegs, user_mode
from kdumpsim.kernel.arch.i386.segment import DOUBLEFAULT_SELECTOR
from kdumpsim.kernel.arch.i386.stack_guard import guard_static_stacks
from kdumpsim.kernel.arch.i386.thread_info import current, current_thread_info, set_stack_end_magic
from kdumpsim.kernel.core.config import FAULT_CHECKS, THREAD_SIZE
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.sched import current_is_sound
from kdumpsim.kernel.core.signal import force_sig
from kdumpsim.kernel.core.types import SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP

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
system_call: array[u8] = external()


@guest
def do_trap(signal: u32, what: cstr, regs: ptr[PtRegs], error_code: u32) -> None:
    """An exception: a signal for a process, the end of the kernel for the kernel."""
    if FAULT_CHECKS and not current_is_sound():
        bad_current(regs)
    if not user_mode(regs):
        die(what, regs, error_code)
    local_irq_enable()
    task = current()
    printk(f"<6>{task.comm:s}[{task.pid}] trap {what:s} ip {regs.eip:08x} sp {regs.esp:08x} error {error_code:x}\n")
    force_sig(signal)


@guest
def do_divide_error(regs: ptr[PtRegs], error_code: u32) -> None:
    """#DE, vector 0."""
    do_trap(SIGFPE, "divide error", regs, error_code)


@guest
def do_debug(regs: ptr[PtRegs], error_code: u32) -> None:
    """#DB, vector 1."""
    do_trap(SIGTRAP, "debug", regs, error_code)


@guest
def do_int3(regs: ptr[PtRegs], error_code: u32) -> None:
    """#BP, vector 3."""
    do_trap(SIGTRAP, "int3", regs, error_code)


@guest
def do_overflow(regs: ptr[PtRegs], error_code: u32) -> None:
    """#OF, vector 4."""
    do_trap(SIGSEGV, "overflow", regs, error_code)


@guest
def do_bounds(regs: ptr[PtRegs], error_code: u32) -> None:
    """#BR, vector 5."""
    do_trap(SIGSEGV, "bounds", regs, error_code)


@guest
def do_invalid_op(regs: ptr[PtRegs], error_code: u32) -> None:
    """#UD, vector 6: an undefined instruction, and how BUG() stops the kernel."""
    do_trap(SIGILL, "invalid opcode", regs, error_code)


@guest
def do_device_not_available(regs: ptr[PtRegs], error_code: u32) -> None:
    """#NM, vector 7: this kernel saves no coprocessor state, so nobody may use the coprocessor."""
    do_trap(SIGFPE, "device not available", regs, error_code)


@guest
def do_coprocessor_segment_overrun(regs: ptr[PtRegs], error_code: u32) -> None:
    """Vector 9, of the 386 only."""
    do_trap(SIGFPE, "coprocessor segment overrun", regs, error_code)


@guest
def do_invalid_TSS(regs: ptr[PtRegs], error_code: u32) -> None:
    """#TS, vector 10."""
    do_trap(SIGSEGV, "invalid TSS", regs, error_code)


@guest
def do_segment_not_present(regs: ptr[PtRegs], error_code: u32) -> None:
    """#NP, vector 11."""
    do_trap(SIGBUS, "segment not present", regs, error_code)


@guest
def do_stack_segment(regs: ptr[PtRegs], error_code: u32) -> None:
    """#SS, vector 12."""
    do_trap(SIGBUS, "stack segment", regs, error_code)


@guest
def do_general_protection(regs: ptr[PtRegs], error_code: u32) -> None:
    """#GP, vector 13."""
    do_trap(SIGSEGV, "general protection fault", regs, error_code)


@guest
def do_spurious_interrupt_bug(regs: ptr[PtRegs], error_code: u32) -> None:
    """Vector 15, which old processors raised by mistake: ignored."""


@guest
def do_coprocessor_error(regs: ptr[PtRegs], error_code: u32) -> None:
    """#MF, vector 16."""
    do_trap(SIGFPE, "coprocessor error", regs, error_code)


@guest
def do_alignment_check(regs: ptr[PtRegs], error_code: u32) -> None:
    """#AC, vector 17."""
    do_trap(SIGBUS, "alignment check", regs, error_code)


@guest
def do_simd_coprocessor_error(regs: ptr[PtRegs], error_code: u32) -> None:
    """#XM, vector 19."""
    do_trap(SIGFPE, "simd coprocessor error", regs, error_code)


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
    set_system_gate(SYSCALL_VECTOR, u32(system_call))
    init_doublefault_tss()
    init_apic_mappings()
    cpu_load_descriptors(0, u32(init_thread_union) + THREAD_SIZE)
    mcheck_init()
    set_stack_end_magic(current_thread_info())
    guard_static_stacks()
