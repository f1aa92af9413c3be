# SPDX-License-Identifier: GPL-2.0-or-later
"""Tasks as the processor sees them: switching, starting, idling (arch/i386/kernel/process.c of 2.6.16)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NoReturn,
    Struct,
    array,
    cast,
    extern,
    external,
    fn,
    guest,
    i32,
    length,
    module_asm,
    offsetof,
    ptr,
    sizeof,
    u8,
    u32,
    usize,
    void,
)
from kdumpsim.kernel.arch.i386.desc import load_esp0
from kdumpsim.kernel.arch.i386.pgtable import switch_mm
from kdumpsim.kernel.arch.i386.processor import EFLAGS_IF, local_irq_disable, local_irq_enable, safe_halt
from kdumpsim.kernel.arch.i386.ptrace import PtRegs
from kdumpsim.kernel.arch.i386.segment import __USER_CS, __USER_DS
from kdumpsim.kernel.arch.i386.thread_info import smp_processor_id
from kdumpsim.kernel.core.config import THREAD_SIZE
from kdumpsim.kernel.core.sched import schedule
from kdumpsim.kernel.core.sched_types import TaskStruct
from kdumpsim.kernel.core.spinlock import need_resched, preempt_disable, preempt_enable_no_resched

EFLAGS_RESERVED: Final = 0x2
"""Bit 1 of EFLAGS always reads as set."""

THREAD_ESP: Final = offsetof(TaskStruct, "thread.esp")
THREAD_EIP: Final = offsetof(TaskStruct, "thread.eip")

module_asm(f"""
    .cfi_sections .debug_frame
    .text

    # switch_to(prev, next): a task that was switched away goes on at 1: with its own stack.
    .balign 16
    .globl switch_to
    .type switch_to, @function
switch_to:
    .cfi_startproc
    movl 4(%esp), %eax
    movl 8(%esp), %edx
    pushl %ebp
    .cfi_adjust_cfa_offset 4
    .cfi_rel_offset ebp, 0
    pushl %ebx
    .cfi_adjust_cfa_offset 4
    .cfi_rel_offset ebx, 0
    pushl %esi
    .cfi_adjust_cfa_offset 4
    .cfi_rel_offset esi, 0
    pushl %edi
    .cfi_adjust_cfa_offset 4
    .cfi_rel_offset edi, 0
    movl %esp, {THREAD_ESP}(%eax)
    movl $1f, {THREAD_EIP}(%eax)
    movl {THREAD_ESP}(%edx), %esp
    movl %edx, %ebx
    pushl %edx
    call __switch_to
    addl $4, %esp
    jmp *{THREAD_EIP}(%ebx)
1:  popl %edi
    .cfi_adjust_cfa_offset -4
    .cfi_restore edi
    popl %esi
    .cfi_adjust_cfa_offset -4
    .cfi_restore esi
    popl %ebx
    .cfi_adjust_cfa_offset -4
    .cfi_restore ebx
    popl %ebp
    .cfi_adjust_cfa_offset -4
    .cfi_restore ebp
    ret
    .cfi_endproc
    .size switch_to, . - switch_to

    # A new thread begins here with its function and argument on top of the stack; nobody called it.
    .balign 16
    .globl kernel_thread_helper
    .type kernel_thread_helper, @function
kernel_thread_helper:
    .cfi_startproc
    .cfi_undefined eip
    xorl %ebp, %ebp
    call kernel_thread_start
    ud2
    .cfi_endproc
    .size kernel_thread_helper, . - kernel_thread_helper
""")


@extern
def switch_to(prev: ptr[TaskStruct], next: ptr[TaskStruct]) -> None:
    """Give the CPU from one task to another; comes back when `prev` gets a CPU again."""


@extern
def start_user(regs: ptr[PtRegs]) -> NoReturn:
    """Leave the kernel for ring 3 with the registers on top of this task's stack (entry.py)."""
    ...


ret_from_fork: array[u8] = external()
"""The first code of every new process."""

kernel_thread_helper: array[u8] = external()
"""The first code of every kernel thread."""


class ThreadFrame(Struct):
    """What kernel_thread_helper finds on top of a new thread's stack: the arguments of kernel_thread_start()."""

    func: fn[[ptr[void]], i32]
    arg: ptr[void]
    room: array[u32] = length(2)


@guest
def __switch_to(next: ptr[TaskStruct]) -> None:
    """Runs on the new task's stack: what the processor must know of it."""
    load_esp0(smp_processor_id(), next.thread.esp0)
    switch_mm(next.mm)


@guest
def kernel_thread_setup(task: ptr[TaskStruct], func: fn[[ptr[void]], i32], arg: ptr[void]) -> None:
    """Make switch_to() start a new task in kernel_thread_start(func, arg)."""
    top: u32 = u32(task.thread_info) + THREAD_SIZE
    frame = cast(ptr[ThreadFrame], top - sizeof(ThreadFrame))
    frame.func = func
    frame.arg = arg
    task.thread.esp0 = top
    task.thread.esp = u32(frame)
    task.thread.eip = u32(kernel_thread_helper)


@guest
def task_pt_regs(task: ptr[TaskStruct]) -> ptr[PtRegs]:
    """A process's user registers while it is in the kernel: on top of its stack."""
    return cast(ptr[PtRegs], u32(task.thread_info) + THREAD_SIZE - sizeof(PtRegs))


@guest
def start_thread(regs: ptr[PtRegs], eip: usize, esp: usize) -> None:
    """The registers with which a program starts."""
    regs.ebx = 0
    regs.ecx = 0
    regs.edx = 0
    regs.esi = 0
    regs.edi = 0
    regs.ebp = 0
    regs.eax = 0
    regs.xds = __USER_DS
    regs.xes = __USER_DS
    regs.orig_eax = -1
    regs.eip = eip
    regs.xcs = __USER_CS
    regs.eflags = EFLAGS_IF | EFLAGS_RESERVED
    regs.esp = esp
    regs.xss = __USER_DS


@guest
def user_thread_setup(task: ptr[TaskStruct], eip: usize, esp: usize) -> None:
    """Make switch_to() start a new process in ring 3."""
    regs = task_pt_regs(task)
    start_thread(regs, eip, esp)
    task.thread.esp0 = u32(task.thread_info) + THREAD_SIZE
    task.thread.esp = u32(regs)
    task.thread.eip = u32(ret_from_fork)


@guest
def default_idle() -> None:
    """Halt unless there is something to do; STI and HLT leave no gap for a lost wake-up."""
    local_irq_disable()
    if need_resched():
        local_irq_enable()
    else:
        safe_halt()


@guest
def cpu_idle() -> NoReturn:
    """The idle task of every CPU; called with preemption off."""
    while True:
        while not need_resched():
            default_idle()
        preempt_enable_no_resched()
        schedule()
        preempt_disable()
