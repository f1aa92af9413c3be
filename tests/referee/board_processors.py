# SPDX-License-Identifier: GPL-2.0-or-later
"""What firmware and boot loader hand over, and the other processors by INIT and SIPI; leaves by a triple fault."""

from __future__ import annotations

from board_prelude import TABLES

BODY = (
    TABLES
    + """
.set LOW, 0x8000
main:
    say "boot"
    movl magic, %eax
    call hex
    movl info, %ebx
    movl (%ebx), %eax
    andl $0x24F, %eax
    call hex
    movl 4(%ebx), %eax                  # KiB below 1 MiB
    call hex
    pushfl
    popl %eax
    andl $0x200, %eax
    call hex
    movl %cr0, %eax
    andl $0x80000001, %eax
    call hex
    say "\\nia32_apic_base"
    movl $0x1B, %ecx
    rdmsr
    call hex
    movl %edx, %eax
    call hex
    say "\\ncmdline "
    movl 16(%ebx), %esi
1:  movb (%esi), %al
    incl %esi
    cmpb $32, %al
    jne 1b
    call puts
    say "\\nmodule"
    movl 20(%ebx), %eax
    call hex
    movl 24(%ebx), %ecx
    movl (%ecx), %eax
    andl $0xFFF, %eax
    call hex
    movl 4(%ecx), %eax
    subl (%ecx), %eax
    call hex
    say " "
    movl 8(%ecx), %esi
    call puts
    movl (%ecx), %eax
    movl (%eax), %eax
    call hex

    say "\\nmap"
    movl 44(%ebx), %ecx
    movl 48(%ebx), %ebx
    addl %ebx, %ecx
1:  cmpl $0x100000, 4(%ebx)             # as far as 1 MiB; the tops differ by what a BIOS keeps
    ja 2f
    movl 4(%ebx), %eax
    call hex
    movl 20(%ebx), %eax
    call hex
    cmpl $0x100000, 4(%ebx)
    je 2f
    movl 12(%ebx), %eax
    call hex
    movl (%ebx), %eax
    leal 4(%ebx, %eax), %ebx
    cmpl %ecx, %ebx
    jb 1b
2:

    say "\\nmp"
    movl $0xF0000, %ebx
1:  cmpl $0x5F504D5F, (%ebx)
    je 2f
    addl $16, %ebx
    cmpl $0x100000, %ebx
    jb 1b
2:  movzbl 8(%ebx), %eax                # its length
    call hex
    movl 11(%ebx), %eax                 # the feature bytes
    call hex
    movl 4(%ebx), %ebx
    movl (%ebx), %eax
    call hex
    movl 36(%ebx), %eax
    call hex
    movzwl 34(%ebx), %ecx
    movzwl 4(%ebx), %edx
    pushl %ecx
    xorl %eax, %eax
    movl %ebx, %esi
1:  addb (%esi), %al
    incl %esi
    decl %edx
    jnz 1b
    call hex
    popl %ecx
    addl $44, %ebx
1:  movzbl (%ebx), %eax
    cmpb $0, %al
    jne 2f
    incl cpus
    addl $20, %ebx
    jmp 4f
2:  cmpb $3, %al
    jne 3f
    cmpb $0, 5(%ebx)
    jne 3f
    movl 4(%ebx), %eax                  # the timer's pin
    call hex
3:  cmpb $4, (%ebx)
    jne 3f
    movl (%ebx), %eax
    call hex
    movl 4(%ebx), %eax
    call hex
3:  addl $8, %ebx
4:  decl %ecx
    jnz 1b
    movl cpus, %eax
    call hex

    say "\\ncpus"
    call tables
    movl $trampoline, %esi
    movl $LOW, %edi
    movl $trampoline_end - trampoline, %ecx
    cld
    rep movsb
    movl $0x1FF, 0xFEE000F0
    movl $0x000C4500, 0xFEE00300        # INIT, all but self
    call pause
    movl $0x000C4608, 0xFEE00300        # STARTUP at 0x8000
    call pause
1:  pause
    movl cpus, %eax
    decl %eax
    cmpl %eax, started
    jne 1b
    movl started, %eax
    call hex
    movl seen, %eax                     # one bit for every APIC id
    call hex
    movl sum_of_all, %eax
    call hex
    ret
pause:
    movl $20000, %ecx
1:  inb $0x80, %al
    decl %ecx
    jnz 1b
    ret

.code16
trampoline:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl LOW + (low_gdtr - trampoline)
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $8, $processor
.align 4
low_gdtr: .word 23
    .long gdt
trampoline_end:
.code32
processor:
    movw $16, %ax
    movw %ax, %ds
    movl $1000, %ecx
1:  lock incl sum_of_all
    decl %ecx
    jnz 1b
    movl 0xFEE00020, %eax
    shrl $24, %eax
    lock btsl %eax, seen
    lock incl started
1:  cli
    hlt
    jmp 1b

leave:                                  # by a triple fault
    lidt nothing
    int3
.align 4
nothing: .word 0
    .long 0
cpus: .long 0
started: .long 0
seen: .long 0
sum_of_all: .long 0
"""
)
