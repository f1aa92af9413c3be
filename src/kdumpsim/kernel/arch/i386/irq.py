# SPDX-License-Identifier: GPL-2.0-or-later
"""Device interrupts, and the stacks they and softirqs run on (arch/i386/kernel/irq.c).

With 8 KiB stacks both use the stack of whatever they interrupt.  With 4 KiB stacks (CONFIG_4KSTACKS) every CPU has one
more stack for interrupts and one for softirqs, each with a thread_info of its own at the low end, so that `current` and
smp_processor_id() hold there too.  Vectors of the local APIC stay on the interrupted stack, as in 2.6.16.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    array,
    asm_value,
    cast,
    extern,
    fn,
    guest,
    i32,
    length,
    module_asm,
    ptr,
    u8,
    u32,
    void,
)
from kdumpsim.kernel.arch.i386.page import PAGE_SIZE
from kdumpsim.kernel.arch.i386.ptrace import PtRegs
from kdumpsim.kernel.arch.i386.stack_check import check_stack
from kdumpsim.kernel.arch.i386.thread_info import (
    STACK_ROOM,
    ThreadInfo,
    current_thread_info,
    set_stack_end_magic,
    smp_processor_id,
    stack_of_cpu,
)
from kdumpsim.kernel.core.config import NR_CPUS, THREAD_SIZE
from kdumpsim.kernel.core.hardirq import HARDIRQ_OFFSET, SOFTIRQ_MASK, SOFTIRQ_OFFSET
from kdumpsim.kernel.core.irq import __do_IRQ
from kdumpsim.kernel.core.softirq import irq_enter, irq_exit

IRQ_STACKS: Final = THREAD_SIZE == PAGE_SIZE
"""CONFIG_4KSTACKS."""
STACKS_SIZE: Final = NR_CPUS * STACK_ROOM if IRQ_STACKS else 0
STACK_ALIGN: Final = THREAD_SIZE if IRQ_STACKS else 1

softirq_stack: array[u8] = length(STACKS_SIZE, align=STACK_ALIGN)
hardirq_stack: array[u8] = length(STACKS_SIZE, align=STACK_ALIGN)
hardirq_ctx: array[ptr[ThreadInfo]] = length(NR_CPUS)
softirq_ctx: array[ptr[ThreadInfo]] = length(NR_CPUS)
"""Each CPU's stack, by the thread_info at its low end."""

module_asm("""
    .cfi_sections .debug_frame
    .text
    .balign 16

    # call_on_stack(function, a, b, top): call function(a, b) with the stack that ends at `top`. The chain of frame
    # pointers leads back over the switch. A signal frame, because gdb takes it for an error if an ordinary caller's
    # frame lies at a lower address.
    .globl call_on_stack
    .type call_on_stack, @function
call_on_stack:
    .cfi_startproc
    .cfi_signal_frame
    pushl %ebp
    .cfi_def_cfa_offset 8
    .cfi_offset ebp, -8
    movl %esp, %ebp
    .cfi_def_cfa_register ebp
    movl 20(%ebp), %esp
    pushl 16(%ebp)
    pushl 12(%ebp)
    call *8(%ebp)
    leave
    .cfi_def_cfa esp, 4
    ret
    .cfi_endproc
    .size call_on_stack, . - call_on_stack
""")


@extern
def call_on_stack(function: ptr[void], a: u32, b: u32, top: u32) -> None:
    """Call `function(a, b)` on another stack."""


@guest
def new_irq_ctx(stacks: ptr[u8], cpu: u32, preempt_count: i32) -> ptr[ThreadInfo]:
    """Make a thread_info at the low end of a CPU's stack."""
    info = stack_of_cpu(stacks, cpu)
    info.cpu = cpu
    info.preempt_count = preempt_count
    set_stack_end_magic(info)
    return info


@guest
def irq_ctx_init(cpu: u32) -> None:
    """Prepare a CPU's stacks.  Their preempt_count is never 0: nothing on them can be preempted."""
    if IRQ_STACKS:
        hardirq_ctx[cpu] = new_irq_ctx(hardirq_stack, cpu, HARDIRQ_OFFSET)
        softirq_ctx[cpu] = new_irq_ctx(softirq_stack, cpu, SOFTIRQ_OFFSET)


@guest
def enter_irq_ctx(ctx: ptr[ThreadInfo], interrupted: ptr[ThreadInfo]) -> u32:
    """Make another stack know whom it works for, and whence one came; where that stack begins."""
    ctx.task = interrupted.task
    ctx.previous_esp = asm_value(u32, "movl %esp, $0", "=r")
    return u32(ctx) + THREAD_SIZE


@guest
def do_IRQ(regs: ptr[PtRegs], irq: u32) -> None:
    """Where common_interrupt brings every device interrupt; it is served on the interrupts' stack if there is one."""
    check_stack()
    irq_enter()
    interrupted = current_thread_info()
    ctx = hardirq_ctx[smp_processor_id()]
    if IRQ_STACKS and interrupted != ctx:
        # What is asked about softirqs counts for the interrupted code too.
        ctx.preempt_count = ctx.preempt_count & ~SOFTIRQ_MASK | interrupted.preempt_count & SOFTIRQ_MASK
        call_on_stack(cast(ptr[void], __do_IRQ), irq, u32(regs), enter_irq_ctx(ctx, interrupted))
    else:
        __do_IRQ(irq, regs)
    irq_exit()


@guest
def call_softirq(run: fn[[], None]) -> None:
    """Run softirqs, on the stack that is there for them.  Interrupts are off, and no interrupt is being served."""
    if IRQ_STACKS:
        ctx = softirq_ctx[smp_processor_id()]
        call_on_stack(cast(ptr[void], run), 0, 0, enter_irq_ctx(ctx, current_thread_info()))
    else:
        run()
