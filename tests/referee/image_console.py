# SPDX-License-Identifier: GPL-2.0-or-later
"""What every referee image shares: a Multiboot header, and a voice on the first serial port (AT&T syntax).

A flat image at 1 MiB begins with HEADER and MACROS and has CODE somewhere; it calls `uart` before it says anything.
"""

from __future__ import annotations

BASE = 0x100000

HEADER = """
.set BASE, 0x100000
.code32
header:
    .long 0x1BADB002, 0x00010003, -(0x1BADB002 + 0x00010003)
    .long BASE, BASE, 0, BASE + 0x20000, start
"""

MACROS = """
.macro say text
    pushl %esi
    jmp .Lover\\@
.Ltext\\@:
    .asciz "\\text"
.Lover\\@:
    movl $.Ltext\\@, %esi
    call puts
    popl %esi
.endm
.macro outport port, value
    movw $\\port, %dx
    movb $\\value, %al
    outb %al, %dx
.endm
.macro inport port
    xorl %eax, %eax
    movw $\\port, %dx
    inb %dx, %al
.endm
"""

CODE = """
uart:                                   # 115200 baud, 8 bits, FIFOs, no interrupts
    outport 0x3F9, 0
    outport 0x3FB, 0x80
    outport 0x3F8, 1
    outport 0x3F9, 0
    outport 0x3FB, 3
    outport 0x3FA, 7
    outport 0x3FC, 0x0B
    ret
drain:                                  # until the transmitter is empty
    inport 0x3FD
    testb $0x40, %al
    jz drain
    ret
putc:                                   # al
    pushl %edx
    pushl %eax
1:  movw $0x3FD, %dx
    inb %dx, %al
    testb $0x20, %al
    jz 1b
    popl %eax
    movw $0x3F8, %dx
    outb %al, %dx
    popl %edx
    ret
puts:                                   # esi
    pushl %eax
1:  movb (%esi), %al
    incl %esi
    testb %al, %al
    jz 2f
    call putc
    jmp 1b
2:  popl %eax
    ret
digits:                                 # the last ecx hexadecimal digits of eax
    pushl %ecx
    pushl %eax
    negl %ecx
    leal 32(,%ecx,4), %ecx
    roll %cl, %eax
    movl 4(%esp), %ecx
1:  roll $4, %eax
    pushl %eax
    andb $15, %al
    cmpb $10, %al
    jb 2f
    addb $39, %al
2:  addb $48, %al
    call putc
    popl %eax
    loop 1b
    popl %eax
    popl %ecx
    ret
"""
