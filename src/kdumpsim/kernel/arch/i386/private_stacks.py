# SPDX-License-Identifier: GPL-2.0-or-later
"""Each CPU's stacks for the dump route, for NMIs and for double faults (LKDTT paper, section 5.2.1).

Nothing on the stack that one comes from is believed: the CPU is known by its APIC, the task by the run queue.  So
`current` and smp_processor_id() hold on these stacks whatever has become of the other.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import array, asm_value, cast, fn, guest, length, ptr, u8, u32, usize, void
from kdumpsim.kernel.arch.i386.apic import safe_smp_processor_id
from kdumpsim.kernel.arch.i386.irq import call_on_stack, new_irq_ctx
from kdumpsim.kernel.arch.i386.thread_info import STACK_ROOM, current_thread_info, stack_of_cpu
from kdumpsim.kernel.core.config import CRASH_STACKS, NMI_STACKS, NR_CPUS, THREAD_SIZE
from kdumpsim.kernel.core.hardirq import HARDIRQ_OFFSET
from kdumpsim.kernel.core.sched import cpu_rq

CRASH_STACKS_SIZE: Final = NR_CPUS * STACK_ROOM if CRASH_STACKS else 0
CRASH_STACKS_ALIGN: Final = THREAD_SIZE if CRASH_STACKS else 1
NMI_STACKS_SIZE: Final = NR_CPUS * STACK_ROOM if NMI_STACKS else 0
NMI_STACKS_ALIGN: Final = THREAD_SIZE if NMI_STACKS else 1

crash_stack: array[u8] = length(CRASH_STACKS_SIZE, align=CRASH_STACKS_ALIGN)
doublefault_stacks: array[u8] = length(CRASH_STACKS_SIZE, align=CRASH_STACKS_ALIGN)
nmi_stack: array[u8] = length(NMI_STACKS_SIZE, align=NMI_STACKS_ALIGN)


@guest
def private_stacks_init(cpu: u32) -> None:
    """Prepare a CPU's stacks.  Their preempt_count says that an interrupt is being served."""
    if CRASH_STACKS:
        new_irq_ctx(crash_stack, cpu, HARDIRQ_OFFSET)
        new_irq_ctx(doublefault_stacks, cpu, HARDIRQ_OFFSET)
    if NMI_STACKS:
        new_irq_ctx(nmi_stack, cpu, HARDIRQ_OFFSET)


@guest
def call_on_private_stack(stacks: ptr[u8], function: ptr[void], a: u32, b: u32) -> None:
    """Call `function(a, b)` on this CPU's stack of `stacks`; on it already, just call."""
    cpu = safe_smp_processor_id()
    info = stack_of_cpu(stacks, cpu)
    if current_thread_info() == info:
        call: fn[[u32, u32], None] = cast(fn[[u32, u32], None], function)
        call(a, b)
        return
    info.task = cpu_rq(cpu).curr
    info.previous_esp = asm_value(u32, "movl %esp, $0", "=r")
    call_on_stack(function, a, b, u32(info) + THREAD_SIZE)


@guest
def call_on_crash_stack(function: ptr[void], a: usize, b: usize) -> None:
    """Call `function(a, b)` on the stack that this CPU has for the dump route; interrupts are off."""
    call_on_private_stack(crash_stack, function, a, b)
