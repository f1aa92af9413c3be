# SPDX-License-Identifier: GPL-2.0-or-later
"""Inspection of the stack at interrupts (CONFIG_DEBUG_STACKOVERFLOW, arch/i386/kernel/irq.c of 2.6.16).

2.6.16 looks how much is left, in do_IRQ() alone, and prints.  Here the local timer's interrupt looks, too, and at the
last word of the stack as well: a stack that has run over and come back has room again, but no end
(kernel/fork.c and sched.c from 2.6.27 on).  The panic is panic_on_stackoverflow's, of 3.2.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import asm_value, guest, i32, ptr, sizeof, u32
from kdumpsim.kernel.arch.i386.thread_info import STACK_END_MAGIC, ThreadInfo, current_thread_info, end_of_stack
from kdumpsim.kernel.architecture import dump_stack
from kdumpsim.kernel.core.config import STACK_CHECK, THREAD_SIZE
from kdumpsim.kernel.core.panic import panic
from kdumpsim.kernel.core.printk import printk

STACK_WARN: Final = THREAD_SIZE // 8
STACK_CHECK_PANIC: Final = 2


@guest
def stack_overflow(info: ptr[ThreadInfo], left: i32) -> None:
    """A stack has less than STACK_WARN bytes left, or has lost its end."""
    if STACK_CHECK == STACK_CHECK_PANIC:
        panic("low stack detected by irq handler")
    printk(f"<4>do_IRQ: stack overflow: {left}\n")
    if end_of_stack(info)[0] != STACK_END_MAGIC:
        printk("<4>Thread overran stack, or stack corrupted\n")
        end_of_stack(info)[0] = STACK_END_MAGIC  # once is enough
    dump_stack()


@guest
def check_stack() -> None:
    """An interrupt begins: has the stack that it found room, and its end?"""
    if STACK_CHECK:
        info = current_thread_info()
        left = i32(asm_value(u32, "movl %esp, $0", "=r") & (THREAD_SIZE - 1)) - i32(sizeof(ThreadInfo))
        if left < STACK_WARN or end_of_stack(info)[0] != STACK_END_MAGIC:
            stack_overflow(info, left)
