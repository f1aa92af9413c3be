# SPDX-License-Identifier: GPL-2.0-or-later
"""Where ``machine_kexec`` jumps to, and where the next kernel is entered.

On entry: protected mode, paging off, interrupts off, flat segments whose descriptors may lie in memory that is about to
be overwritten, no usable stack.  On exit: the machine state that Multiboot 0.6.96, section 3.2, promises a kernel.

kexec-tools relocates this object to a place of its choice and fills in the globals below (kdump paper, section 3.2).
"""

from __future__ import annotations

from kdumpsim.compiler.lang import array, length, module_asm, u8, u32

KERNEL_CS = 0x08
KERNEL_DS = 0x10
STACK_SIZE = 4096

# Filled in by kexec-tools.
kernel_entry: u32 = 0
"""Physical address of the next kernel's entry."""
kernel_eax: u32 = 0
"""Multiboot's loader magic."""
kernel_ebx: u32 = 0
"""Physical address of the boot parameters (a Multiboot information structure)."""

purgatory_stack: array[u8] = length(STACK_SIZE, align=16)

module_asm(f"""
    .text
    .globl purgatory_start
    .type purgatory_start, @function
purgatory_start:
    cli
    cld
    lgdt purgatory_gdt_descriptor
    ljmp ${KERNEL_CS}, $1f
1:  movw ${KERNEL_DS}, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    movl $purgatory_stack + {STACK_SIZE}, %esp
    xorl %ebp, %ebp
    call purgatory
    movl kernel_eax, %eax
    movl kernel_ebx, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    xorl %esi, %esi
    xorl %edi, %edi
    jmp *kernel_entry
    .size purgatory_start, . - purgatory_start

    .data
    .balign 8
purgatory_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff    # {KERNEL_CS:#x}: code, base 0, 4 GiB
    .quad 0x00cf93000000ffff    # {KERNEL_DS:#x}: data, base 0, 4 GiB
purgatory_gdt_descriptor:
    .word 23
    .long purgatory_gdt
    .text
""")
