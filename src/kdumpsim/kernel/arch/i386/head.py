# SPDX-License-Identifier: GPL-2.0-or-later
"""The first instructions: from the boot loader's flat segments to paging and C (arch/i386/kernel/head.S).

The loader follows Multiboot 0.6.96: protected mode, paging off, EAX holds the magic number and EBX the physical address
of the information structure (sections 3.1 and 3.2).  Purgatory enters the capture kernel in the same way.  Secondary
CPUs come here from the trampoline.

A relocatable kernel (CONFIG_RELOCATABLE, from 2.6.20 on; LKDTT paper, section 7.2.1) may lie elsewhere than where it is
linked.  The first thing it does is to find out by how much, and to add that to every word that holds an address.  The
linker made a list of these.  The paper names two ways, a loader that relocates and a kernel that does so in head.S, as
mkdump; this is the second, so that any loader will do.

Code before paging is on runs at physical addresses, so every symbol is used less PAGE_OFFSET.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NoReturn, array, guest, length, module_asm, u8, u32
from kdumpsim.kernel.arch.i386.page import PAGE_OFFSET, PAGE_SIZE
from kdumpsim.kernel.arch.i386.processor import (
    X86_CR0_AM,
    X86_CR0_ET,
    X86_CR0_MP,
    X86_CR0_NE,
    X86_CR0_PE,
    X86_CR0_PG,
    X86_CR0_WP,
    X86_CR4_PSE,
)
from kdumpsim.kernel.arch.i386.segment import __KERNEL_CS, __KERNEL_DS, __USER_DS
from kdumpsim.kernel.arch.i386.thread_info import ThreadUnion
from kdumpsim.kernel.arch.i386.trampoline import TRAMPOLINE_BASE
from kdumpsim.kernel.core.config import RELOCATABLE, STACK_GUARD, THREAD_SIZE
from kdumpsim.kernel.core.main import start_kernel

MULTIBOOT_HEADER_MAGIC: Final = 0x1BADB002
MULTIBOOT_HEADER_FLAGS: Final = 0x3
"""Modules on page boundaries, and a memory map please."""

CR0_STATE: Final = (
    X86_CR0_PG | X86_CR0_AM | X86_CR0_WP | X86_CR0_NE | X86_CR0_ET | X86_CR0_MP | X86_CR0_PE
)  # fmt: skip

PSE_KERNEL: Final = 0x83
"""Page directory entry: present, writable, 4 MiB."""

LINEAR_PDES: Final = 224
"""896 MiB in 4 MiB pages."""

KERNEL_PDE: Final = PAGE_OFFSET >> 22

boot_magic: u32 = 0
"""EAX as the loader left it."""
boot_info: u32 = 0
"""EBX as the loader left it: physical address of the Multiboot information."""

initial_page_table: array[u32] = length(1024, align=4096)
"""Page directory until paging_init(), and of secondary CPUs until they reach C: 896 MiB at 0 and at PAGE_OFFSET."""

swapper_pg_dir: array[u32] = length(1024, align=4096)
"""The kernel's page directory; paging.py fills it in."""

init_stack_room: array[u8] = length(THREAD_SIZE if STACK_GUARD else 0, align=THREAD_SIZE if STACK_GUARD else 1)
"""Right below the next, so that there is a page to unmap."""

init_thread_union: ThreadUnion = ThreadUnion()
"""Stack and thread_info of the first task."""

stack_start: u32 = 0
"""Where a secondary CPU finds its stack: do_boot_cpu() sets it before each start-up IPI."""

module_asm(f"""
    .cfi_sections .debug_frame

    .section .text.head, "ax", @progbits
    .balign 4
    .globl multiboot_header
multiboot_header:
    .long {MULTIBOOT_HEADER_MAGIC}
    .long {MULTIBOOT_HEADER_FLAGS}
    .long -({MULTIBOOT_HEADER_MAGIC} + {MULTIBOOT_HEADER_FLAGS})

    .balign 16
    .globl startup_32
    .type startup_32, @function
startup_32:
    .cfi_startproc
    .cfi_undefined eip
    cli
    cld
    .if {RELOCATABLE}
    # EBP: how far from where it is linked this runs.  CALL needs a stack; the page of the trampoline is ours already.
    movl ${TRAMPOLINE_BASE + PAGE_SIZE}, %esp
    call 1f
1:  popl %ebp
    subl $1b - {PAGE_OFFSET}, %ebp
    jz 3f
    leal __start_relocs - {PAGE_OFFSET}(%ebp), %esi
    leal __stop_relocs - {PAGE_OFFSET}(%ebp), %ecx
    jmp 2f
1:  movl (%esi), %edx
    addl $4, %esi
    addl %ebp, -{PAGE_OFFSET}(%ebp, %edx)
2:  cmpl %ecx, %esi
    jne 1b
3:
    .endif
    lgdt boot_gdt_descr - {PAGE_OFFSET}
    ljmp ${__KERNEL_CS}, $1f - {PAGE_OFFSET}
1:  movl ${__KERNEL_DS}, %ecx
    movl %ecx, %ds
    movl %ecx, %es
    movl %ecx, %ss
    movl %eax, boot_magic - {PAGE_OFFSET}
    movl %ebx, boot_info - {PAGE_OFFSET}

    # 896 MiB from physical 0, at virtual 0 and at PAGE_OFFSET
    movl $initial_page_table - {PAGE_OFFSET}, %edi
    movl ${PSE_KERNEL}, %eax
    movl ${LINEAR_PDES}, %ecx
2:  movl %eax, (%edi)
    movl %eax, {KERNEL_PDE * 4}(%edi)
    addl $0x400000, %eax
    addl $4, %edi
    decl %ecx
    jnz 2b

    movl $init_thread_union + {THREAD_SIZE}, %ebx
    movl $i386_start_kernel, %esi
    jmp enable_paging
    .cfi_endproc
    .size startup_32, . - startup_32

    # Secondary CPUs, in protected mode with the trampoline's flat segments.
    .globl startup_32_smp
    .type startup_32_smp, @function
startup_32_smp:
    .cfi_startproc
    .cfi_undefined eip
    cld
    lgdt boot_gdt_descr - {PAGE_OFFSET}
    ljmp ${__KERNEL_CS}, $1f - {PAGE_OFFSET}
1:  movl ${__KERNEL_DS}, %ecx
    movl %ecx, %ds
    movl %ecx, %es
    movl %ecx, %ss
    movl stack_start - {PAGE_OFFSET}, %ebx
    movl $start_secondary, %esi

    jmp enable_paging
    .cfi_endproc
    .size startup_32_smp, . - startup_32_smp

    # EBX: stack, ESI: where to go in C
    .globl enable_paging
    .type enable_paging, @function
enable_paging:
    .cfi_startproc
    .cfi_undefined eip
    movl %cr4, %eax
    orl ${X86_CR4_PSE}, %eax
    movl %eax, %cr4
    movl $initial_page_table - {PAGE_OFFSET}, %eax
    movl %eax, %cr3
    movl ${CR0_STATE}, %eax
    movl %eax, %cr0
    movl $3f, %eax
    jmp *%eax                           # leave the identity map
3:  lgdt boot_gdt_virt_descr
    ljmp ${__KERNEL_CS}, $4f
4:  movl ${__KERNEL_DS}, %eax
    movl %eax, %ss
    movl %ebx, %esp
    movl ${__USER_DS}, %eax
    movl %eax, %ds
    movl %eax, %es
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    xorl %ebp, %ebp                     # call traces end here
    pushl $0
    popfl
    call *%esi
5:  hlt
    jmp 5b
    .cfi_endproc
    .size enable_paging, . - enable_paging

    .section .data
    .balign 8
boot_gdt:
    .fill {__KERNEL_CS // 8}, 8, 0
    .quad 0x00cf9b000000ffff            # kernel code, 4 GiB at 0
    .quad 0x00cf93000000ffff            # kernel data
    .quad 0x00cffb000000ffff            # user code
    .quad 0x00cff3000000ffff            # user data
boot_gdt_end:
boot_gdt_descr:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt - {PAGE_OFFSET}
boot_gdt_virt_descr:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt
    .text
""")


@guest
def i386_start_kernel() -> NoReturn:
    """First function on the boot stack; call traces and gdb's backtraces end at its caller."""
    start_kernel()
