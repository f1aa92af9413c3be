# SPDX-License-Identifier: GPL-2.0-or-later
"""The way of a secondary CPU from real mode (arch/i386/kernel/trampoline.S; SDM vol. 3, 8.4.4 and 9.9.1).

A start-up IPI makes the CPU begin in real mode at vector << 12.  The code below is copied to TRAMPOLINE_BASE and goes
to protected mode with flat segments, then on to startup_32_smp.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import array, cast, external, guest, module_asm, ptr, u8, u32
from kdumpsim.kernel.arch.i386.page import PAGE_OFFSET, va
from kdumpsim.kernel.arch.i386.segment import __KERNEL_CS, __KERNEL_DS

TRAMPOLINE_BASE: Final = 0x8000
"""Physical address of a page below 640 KiB, kept free for this."""

TRAMPOLINE_ALIVE: Final = 0xA5A5_A5A5
"""Written into the copy by the CPU that runs it."""

trampoline_data: array[u8] = external()
trampoline_end: array[u8] = external()

module_asm(f"""
    .cfi_sections .debug_frame
    .section .rodata
    .balign 16
    .globl trampoline_data
trampoline_data:
    .code16
    cli
    wbinvd
    movw %cs, %ax
    movw %ax, %ds
    movl ${TRAMPOLINE_ALIVE}, trampoline_alive - trampoline_data
    lidtl trampoline_idt - trampoline_data
    lgdtl trampoline_gdt_descr - trampoline_data
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl ${__KERNEL_CS}, $trampoline_32 - trampoline_data + {TRAMPOLINE_BASE}
    .code32
trampoline_32:
    movl ${__KERNEL_DS}, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $startup_32_smp - {PAGE_OFFSET}, %eax
    jmp *%eax

    .balign 4
    .globl trampoline_alive
trampoline_alive:
    .long 0
trampoline_idt:
    .word 0
    .long 0
trampoline_gdt_descr:
    .word trampoline_gdt_end - trampoline_gdt - 1
    .long trampoline_gdt - trampoline_data + {TRAMPOLINE_BASE}
    .balign 8
trampoline_gdt:
    .fill {__KERNEL_CS // 8}, 8, 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
trampoline_gdt_end:
    .globl trampoline_end
trampoline_end:
    .text
""")

trampoline_alive: array[u8] = external()


@guest
def setup_trampoline() -> None:
    """Copy the code to its page."""
    to = cast(ptr[u8], va(TRAMPOLINE_BASE))
    for i in range(u32(trampoline_end) - u32(trampoline_data)):
        to[i] = trampoline_data[i]


@guest
def trampoline_was_reached() -> bool:
    """Whether the CPU has run the trampoline, for telling a stuck CPU from a missing one."""
    word = cast(ptr[u32], va(TRAMPOLINE_BASE) + (u32(trampoline_alive) - u32(trampoline_data)))
    return word[0] == TRAMPOLINE_ALIVE
