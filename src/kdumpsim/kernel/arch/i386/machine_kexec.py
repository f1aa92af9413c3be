# SPDX-License-Identifier: GPL-2.0-or-later
"""The jump into another kernel (arch/i386/kernel/{machine_kexec.c,relocate_kernel.S} of 2.6.16).

The code that turns paging off must lie where virtual and physical addresses agree, and where no copy goes: in the
image's control page, which a page directory made for it shows at its physical address.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NoReturn, array, cast, external, fn, guest, i32, length, module_asm, ptr, u8, u32
from kdumpsim.kernel.arch.i386.head import swapper_pg_dir
from kdumpsim.kernel.arch.i386.page import PAGE_SIZE, pa, va
from kdumpsim.kernel.arch.i386.pgtable_types import PAGE_KERNEL, PGDIR_SHIFT, PTRS_PER_PTE
from kdumpsim.kernel.arch.i386.processor import X86_CR0_ET, X86_CR0_PE, DescPtr, load_idt, local_irq_disable, write_cr3
from kdumpsim.kernel.arch.i386.segment import __KERNEL_DS
from kdumpsim.kernel.core.kexec_types import IND_DESTINATION, IND_DONE, IND_INDIRECTION, IND_SOURCE, Kimage
from kdumpsim.kernel.core.types import ENOMEM

PAGE_ADDRESS_MASK: Final = 0xFFFF_F000

kexec_pgd: array[u32] = length(PTRS_PER_PTE, align=4096)
"""The kernel's page directory with one page shown at its physical address."""
kexec_pte: array[u32] = length(PTRS_PER_PTE, align=4096)

relocate_new_kernel: array[u8] = external()
relocate_new_kernel_end: array[u8] = external()

module_asm(f"""
    .cfi_sections .debug_frame
    .text
    .balign 16
    .globl relocate_new_kernel
    .type relocate_new_kernel, @function
    # relocate_new_kernel(page list, control page, start); runs in the control page, at its physical address.
relocate_new_kernel:
    .cfi_startproc
    movl 4(%esp), %ebx                  # page list
    movl 8(%esp), %ebp                  # control page
    movl 12(%esp), %edx                 # start
    leal {PAGE_SIZE}(%ebp), %esp        # the rest of the page is our stack
    .cfi_undefined eip
    pushl $0
    popfl
    movl ${__KERNEL_DS}, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movl ${X86_CR0_ET | X86_CR0_PE}, %eax
    movl %eax, %cr0                     # paging off
    jmp 1f
1:  xorl %eax, %eax
    movl %eax, %cr4
    movl %eax, %cr3

    # Walk the list: ECX is the entry, EDI the destination, ESI the source.
2:  movl %ebx, %ecx
    jmp 4f
3:  movl (%ebx), %ecx
    addl $4, %ebx
4:  testl ${IND_DESTINATION}, %ecx
    jz 5f
    movl %ecx, %edi
    andl ${PAGE_ADDRESS_MASK}, %edi
    jmp 3b
5:  testl ${IND_INDIRECTION}, %ecx
    jz 6f
    movl %ecx, %ebx
    andl ${PAGE_ADDRESS_MASK}, %ebx
    jmp 3b
6:  testl ${IND_DONE}, %ecx
    jnz 8f
    testl ${IND_SOURCE}, %ecx
    jz 3b
    movl %ecx, %esi
    andl ${PAGE_ADDRESS_MASK}, %esi
    movl ${PAGE_SIZE // 16}, %ecx
7:  movl (%esi), %eax
    movl %eax, (%edi)
    movl 4(%esi), %eax
    movl %eax, 4(%edi)
    movl 8(%esi), %eax
    movl %eax, 8(%edi)
    movl 12(%esi), %eax
    movl %eax, 12(%edi)
    addl $16, %esi
    addl $16, %edi
    decl %ecx
    jnz 7b
    jmp 3b

8:  movl %cr3, %eax                     # what was translated or prefetched is stale
    movl %eax, %cr3
    pushl %edx
    xorl %eax, %eax
    xorl %ebx, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    xorl %esi, %esi
    xorl %edi, %edi
    xorl %ebp, %ebp
    ret
    .cfi_endproc
    .globl relocate_new_kernel_end
relocate_new_kernel_end:
    .size relocate_new_kernel, . - relocate_new_kernel
""")


@guest
def machine_kexec_prepare(image: ptr[Kimage]) -> i32:
    """The control page must be one that the linear map shows."""
    if u32(relocate_new_kernel_end) - u32(relocate_new_kernel) > PAGE_SIZE // 2:
        return -ENOMEM
    return 0


@guest
def identity_map_page(address: u32) -> None:
    """Make kexec_pgd: all of the kernel's map, and one page where virtual equals physical."""
    for i in range(PTRS_PER_PTE):
        kexec_pgd[i] = swapper_pg_dir[i]
    kexec_pgd[address >> PGDIR_SHIFT] = pa(u32(kexec_pte)) | PAGE_KERNEL
    kexec_pte[address >> 12 & (PTRS_PER_PTE - 1)] = address | PAGE_KERNEL


@guest
def machine_kexec(image: ptr[Kimage]) -> NoReturn:
    """Leave this kernel for the image's start address, with paging off and nothing of ours in use."""
    local_irq_disable()
    control: u32 = image.control_code_page
    page = cast(ptr[u8], va(control))
    for i in range(u32(relocate_new_kernel_end) - u32(relocate_new_kernel)):
        page[i] = relocate_new_kernel[i]
    identity_map_page(control)
    write_cr3(pa(u32(kexec_pgd)))
    # From here on nothing can be delivered any more.
    nothing: DescPtr = DescPtr()
    load_idt(nothing)
    relocate: fn[[u32, u32, u32], None] = cast(fn[[u32, u32, u32], None], control)
    relocate(image.head, control, image.start)
    while True:
        pass
