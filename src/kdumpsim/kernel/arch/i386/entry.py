# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways into the kernel: exceptions, interrupts, NMI (arch/i386/kernel/entry.S).

Every stub leaves a `PtRegs` on the stack and calls a handler with its address as first argument; the pointer a handler
got is also how a call trace (oops.py) finds its way from an entry stub back to the interrupted code.  The call frame
information marks the stubs as signal frames, so that gdb unwinds through them.

System calls come by INT 0x80; the way back to ring 3 looks at need_resched and at signals.

An exception's handler runs on the stack of the interrupted task; irq.py has an interrupt's.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import array, external, module_asm, offsetof, sizeof, u8, u32
from kdumpsim.kernel.arch.i386.irq_vectors import (
    CALL_FUNCTION_VECTOR,
    ERROR_APIC_VECTOR,
    FIRST_EXTERNAL_VECTOR,
    LOCAL_TIMER_VECTOR,
    RESCHEDULE_VECTOR,
    SPURIOUS_APIC_VECTOR,
)
from kdumpsim.kernel.arch.i386.ptrace import EFLAGS_IF, EFLAGS_VM, PtRegs
from kdumpsim.kernel.arch.i386.segment import __USER_DS
from kdumpsim.kernel.arch.i386.thread_info import TIF_NEED_RESCHED, TIF_SIGPENDING, ThreadInfo
from kdumpsim.kernel.core.config import CRASH_NMI, NMI_STACKS, NR_IRQS, PREEMPT, THREAD_SIZE

ORIG_EAX: Final = offsetof(PtRegs, "orig_eax")
XCS: Final = offsetof(PtRegs, "xcs")
EFLAGS: Final = offsetof(PtRegs, "eflags")
TI_FLAGS: Final = offsetof(ThreadInfo, "flags")
TI_PREEMPT_COUNT: Final = offsetof(ThreadInfo, "preempt_count")
NEED_RESCHED_MASK: Final = 1 << TIF_NEED_RESCHED
WORK_MASK: Final = 1 << TIF_NEED_RESCHED | 1 << TIF_SIGPENDING
"""What must be looked at before a return to ring 3."""

entry_text_start: array[u8] = external()
entry_text_end: array[u8] = external()
interrupt: array[u32] = external()
"""Address of the stub of each interrupt line."""

module_asm(f"""
    .cfi_sections .debug_frame

    # The stack and the call frame information move together.
    .macro PUSH operand
    pushl \\operand
    .cfi_adjust_cfa_offset 4
    .endm

    .macro POP operand
    popl \\operand
    .cfi_adjust_cfa_offset -4
    .endm

    .macro DROP words
    addl $4 * \\words, %esp
    .cfi_adjust_cfa_offset -4 * \\words
    .endm

    .macro SAVE_ALL
    cld
    PUSH %es
    PUSH %ds
    .irp register, eax, ebp, edi, esi, edx, ecx, ebx
    PUSH %\\register
    .cfi_rel_offset \\register, 0
    .endr
    movl ${__USER_DS}, %edx
    movl %edx, %ds
    movl %edx, %es
    .endm

    .macro RESTORE_ALL
    .irp register, ebx, ecx, edx, esi, edi, ebp, eax
    POP %\\register
    .cfi_restore \\register
    .endr
    POP %ds
    POP %es
    DROP 1
    iret
    .endm

    # A procedure: ENTRY name, .cfi_startproc, ..., END name
    .macro ENTRY name
    .balign 16
    .globl \\name
    .type \\name, @function
\\name:
    .endm

    .macro END name
    .cfi_endproc
    .size \\name, . - \\name
    .endm

    # The processor's frame of a ring-0 interruption: EIP, CS, EFLAGS. `code` is 1 if an error code lies below them.
    .macro ENTRY_FRAME code=0
    .cfi_startproc simple
    .cfi_signal_frame
    .cfi_def_cfa esp, 12 + 4 * \\code
    .cfi_offset eip, -12
    .endm

    # Call handler(regs, error_code)
    .macro EXCEPTION name, handler, code
    ENTRY \\name
    ENTRY_FRAME \\code
    .if \\code == 0
    PUSH $0
    .endif
    SAVE_ALL
    movl %esp, %eax
    PUSH {ORIG_EAX}(%eax)
    PUSH %eax
    movl $-1, {ORIG_EAX}(%eax)
    call \\handler
    DROP 2
    jmp ret_from_exception
    END \\name
    .endm

    # Call handler(regs) for a vector of the local APIC
    .macro APIC_INTERRUPT name, handler, vector
    ENTRY \\name
    ENTRY_FRAME
    PUSH $\\vector - 256
    SAVE_ALL
    movl %esp, %eax
    PUSH %eax
    call \\handler
    DROP 1
    jmp ret_from_intr
    END \\name
    .endm

    .text
    .balign 16
    .globl entry_text_start
entry_text_start:

    EXCEPTION divide_error, do_divide_error, 0
    EXCEPTION debug, do_debug, 0
    EXCEPTION int3, do_int3, 0
    EXCEPTION overflow, do_overflow, 0
    EXCEPTION bounds, do_bounds, 0
    EXCEPTION invalid_op, do_invalid_op, 0
    EXCEPTION device_not_available, do_device_not_available, 0
    EXCEPTION coprocessor_segment_overrun, do_coprocessor_segment_overrun, 0
    EXCEPTION invalid_TSS, do_invalid_TSS, 1
    EXCEPTION segment_not_present, do_segment_not_present, 1
    EXCEPTION stack_segment, do_stack_segment, 1
    EXCEPTION general_protection, do_general_protection, 1
    EXCEPTION page_fault, do_page_fault, 1
    EXCEPTION spurious_interrupt_bug, do_spurious_interrupt_bug, 0
    EXCEPTION coprocessor_error, do_coprocessor_error, 0
    EXCEPTION alignment_check, do_alignment_check, 1
    EXCEPTION machine_check, do_machine_check, 0
    EXCEPTION simd_coprocessor_error, do_simd_coprocessor_error, 0

    APIC_INTERRUPT apic_timer_interrupt, smp_apic_timer_interrupt, {LOCAL_TIMER_VECTOR}
    APIC_INTERRUPT reschedule_interrupt, smp_reschedule_interrupt, {RESCHEDULE_VECTOR}
    APIC_INTERRUPT call_function_interrupt, smp_call_function_interrupt, {CALL_FUNCTION_VECTOR}
    APIC_INTERRUPT error_interrupt, smp_error_interrupt, {ERROR_APIC_VECTOR}
    APIC_INTERRUPT spurious_interrupt, smp_spurious_interrupt, {SPURIOUS_APIC_VECTOR}
    APIC_INTERRUPT unexpected_interrupt, smp_unexpected_interrupt, 0
    APIC_INTERRUPT spurious_8259A_interrupt, smp_spurious_8259A_interrupt, {FIRST_EXTERNAL_VECTOR}

    # Call handler(regs, 0). An NMI may interrupt anything, so it never reschedules on its way out.
    .macro NMI name, handler
    ENTRY \\name
    ENTRY_FRAME
    PUSH $-1
    SAVE_ALL
    movl %esp, %eax
    PUSH $0
    PUSH %eax
    call \\handler
    DROP 2
    RESTORE_ALL
    END \\name
    .endm

    .if {NMI_STACKS}
    NMI nmi, do_nmi_on_stack
    .else
    NMI nmi, do_nmi
    .endif
    .if {CRASH_NMI}
    NMI crash_nmi, do_crash_nmi
    .endif

    # INT 0x80: call do_system_call(regs). Nothing that gdb could show lies below: a dump holds no user stack.
    ENTRY system_call
    .cfi_startproc
    .cfi_undefined eip
    PUSH %eax
    SAVE_ALL
    movl %esp, %eax
    PUSH %eax
    call do_system_call
    DROP 1
    jmp resume_userspace
    END system_call

    # A new process runs here first, its user registers on top of the stack.
    ENTRY ret_from_fork
    .cfi_startproc
    .cfi_undefined eip
    xorl %ebp, %ebp
    call finish_task_switch
    jmp resume_userspace
    END ret_from_fork

    # start_user(regs): a kernel thread that has become a process goes to ring 3; regs lies on top of its stack.
    ENTRY start_user
    .cfi_startproc
    .cfi_undefined eip
    movl 4(%esp), %esp
    xorl %ebp, %ebp
    jmp resume_userspace
    END start_user

    # The double fault task starts here; there is nothing to go back to.
    ENTRY doublefault
    .cfi_startproc
    .cfi_undefined eip
    xorl %ebp, %ebp
    call doublefault_fn
    ud2
    END doublefault

    # One stub for each line: push its number less 256, so that it cannot be taken for a system call.
    ENTRY irq_entries_start
    ENTRY_FRAME
    .set line, 0
    .rept {NR_IRQS}
    .balign 16
    PUSH $line - 256
    jmp common_interrupt
    .cfi_adjust_cfa_offset -4
    .set line, line + 1
    .endr
    END irq_entries_start

    # Call do_IRQ(regs, irq)
    ENTRY common_interrupt
    ENTRY_FRAME 1
    SAVE_ALL
    movl %esp, %edx
    movl {ORIG_EAX}(%edx), %eax
    andl $0xff, %eax
    PUSH %eax
    PUSH %edx
    call do_IRQ
    DROP 2

    .globl ret_from_exception
    .globl ret_from_intr
ret_from_exception:
ret_from_intr:
    cli                                 # need_resched must not change behind our back
    movl {EFLAGS}(%esp), %eax
    movb {XCS}(%esp), %al
    testl ${EFLAGS_VM | 3}, %eax
    jnz resume_userspace
    .if {PREEMPT}
    testl ${EFLAGS_IF}, {EFLAGS}(%esp)
    jz restore_all                      # the interrupted code wanted no interruption
1:  movl %esp, %eax
    andl ${-THREAD_SIZE}, %eax
    cmpl $0, {TI_PREEMPT_COUNT}(%eax)
    jnz restore_all
    testb ${NEED_RESCHED_MASK}, {TI_FLAGS}(%eax)
    jz restore_all
    call preempt_schedule_irq
    jmp 1b
    .endif
restore_all:
    RESTORE_ALL
    END common_interrupt

    # Back to ring 3, unless there is something to do first: another task, a signal.
    ENTRY resume_userspace
    .cfi_startproc simple
    .cfi_def_cfa esp, {sizeof(PtRegs)}
    .cfi_undefined eip
    cli
    movl %esp, %eax
    andl ${-THREAD_SIZE}, %eax
    testb ${WORK_MASK}, {TI_FLAGS}(%eax)
    jz 1f
    movl %esp, %eax
    PUSH %eax
    call do_notify_resume
    DROP 1
    jmp resume_userspace
1:  RESTORE_ALL
    END resume_userspace

    .globl entry_text_end
entry_text_end:

    .section .rodata
    .balign 4
    .globl interrupt
interrupt:
    .set line, 0
    .rept {NR_IRQS}
    .long irq_entries_start + 16 * line
    .set line, line + 1
    .endr
    .text
""")
