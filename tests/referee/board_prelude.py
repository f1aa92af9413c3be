# SPDX-License-Identifier: GPL-2.0-or-later
"""What the images begin with that ask a PC's devices what they do; they owe nothing to our kernel.

An image has a `main`, and a `leave` that resets the machine in a way of its own. `hex` prints a space and EAX.
TABLES adds descriptor tables of its own and interrupt handlers that count.
"""

from __future__ import annotations

import image_console as console

START = """
start:
    movl $0x1F0000, %esp
    movl %eax, magic
    movl %ebx, info
    call uart
    call main
    say "\\nbye\\n"
    call drain
    call leave
halt:
    hlt
    jmp halt

hex:
    pushl %ecx
    pushl %eax
    movb $32, %al
    call putc
    movl (%esp), %eax
    movl $8, %ecx
    call digits
    popl %eax
    popl %ecx
    ret
.align 4
magic: .long 0
info: .long 0
"""

TABLES = """
.set IDT, 0x1E0000
.macro handler name, counter, ack
\\name:
    pushl %eax
    pushl %edx
    incl \\counter
    \\ack
    popl %edx
    popl %eax
    iret
.endm
.macro gate vector, target
    movl $\\target, %eax
    movl $IDT + 8 * \\vector, %edi
    call setgate
.endm
.macro await counter, count             # halted, interrupts on
1:  cli
    cmpl $\\count, \\counter
    jae 2f
    sti
    hlt
    jmp 1b
2:
.endm

setgate:
    movw %ax, (%edi)
    movw $8, 2(%edi)
    movw $0x8E00, 4(%edi)
    shrl $16, %eax
    movw %ax, 6(%edi)
    ret
tables:                                 # our own GDT and IDT
    lgdt gdtr
    ljmp $8, $1f
1:  movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $256, %ecx
    movl $IDT, %edi
1:  movl $unexpected, %eax
    call setgate
    addl $8, %edi
    decl %ecx
    jnz 1b
    lidt idtr
    ret
unexpected:
    say "\\nunexpected"
    movl (%esp), %eax
    call hex
    movl 4(%esp), %eax
    call hex
    call drain
    call leave
    jmp halt
.align 8
gdt: .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
gdtr: .word 23
    .long gdt
idtr: .word 2047
    .long IDT
"""


def image_text(body: str) -> str:
    """A whole image."""
    return f"{console.HEADER}{console.MACROS}{START}{console.CODE}{body}"
