# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupts by i8259s, I/O APIC and local APIC, and what is typed; leaves by the reset control register."""

from __future__ import annotations

from board_prelude import TABLES

BODY = (
    TABLES
    + """
handler on_pit, ticks, "call eoi"
handler on_disk, disks, "call eoi2"
handler on_pin, pins, "call lapic_eoi"
handler on_timer, timers, "call lapic_eoi"
handler on_ipi, ipis, "call lapic_eoi"
handler on_nmi, nmis, "nop"
handler on_key, keys, "call keyeoi"

eoi:
    movb $0x20, %al
    outb %al, $0x20
    ret
eoi2:
    movw $0x1F7, %dx
    inb %dx, %al
    movb $0x20, %al
    outb %al, $0xA0
    outb %al, $0x20
    ret
keyeoi:
    movb $0x20, %al
    outb %al, $0x20
    ret
lapic_eoi:
    movl $0, 0xFEE000B0
    ret

main:
    cli
    call tables
    gate 2, on_nmi
    gate 0x20, on_pit
    gate 0x24, on_key
    gate 0x2E, on_disk
    gate 0x40, on_pin
    gate 0x41, on_timer
    gate 0x42, on_ipi

    outport 0x20, 0x11                  # 8259s: vectors 0x20 and 0x28
    outport 0xA0, 0x11
    outport 0x21, 0x20
    outport 0xA1, 0x28
    outport 0x21, 0x04
    outport 0xA1, 0x02
    outport 0x21, 0x01
    outport 0xA1, 0x01
    outport 0x21, 0xFE
    outport 0xA1, 0xFF
    outport 0x43, 0x34                  # PIT: 1000 Hz
    outport 0x40, 1193 & 255
    outport 0x40, 1193 >> 8
    say "pic"
    await ticks, 20
    movl $1, %eax
    call hex

    outport 0x21, 0xFB
    outport 0xA1, 0xBF
    say "\\ndisk"
    outport 0x1F6, 0xA0
    outport 0x1F7, 0xEC
    await disks, 1
    movl disks, %eax
    call hex
    inport 0x3F6
    call hex
    movl $256, %ecx
1:  movw $0x1F0, %dx
    inw %dx, %ax
    decl %ecx
    jnz 1b
    inport 0x3F6
    call hex

    say "\\nserial"                     # the transmitter's interrupt
    call drain
    outport 0xA1, 0xFF
    outport 0x21, 0xEF
    outport 0x3F9, 2
    await keys, 1
    inport 0x3FA
    andb $0xC7, %al
    pushl %eax
    outport 0x3F9, 0
    popl %eax
    movl $1, %eax
    call hex
    outport 0x21, 0xFF

    say "\\nioapic"
    movl $1, 0xFEC00000
    movl 0xFEC00010, %eax
    shrl $16, %eax
    andl $0xFF, %eax
    call hex
    movl $0x1FF, 0xFEE000F0
    movl $0x10000, 0xFEE00350
    movl $0x15, 0xFEC00000              # pin 2: physical, CPU 0, edge, vector 0x40
    movl $0, 0xFEC00010
    movl $0x14, 0xFEC00000
    movl $0x40, 0xFEC00010
    await pins, 20
    movl $0x10040, 0xFEC00010
    movl 0xFEC00010, %eax
    andl $0x1AFFF, %eax
    call hex

    say "\\nlapic"
    movl 0xFEE00020, %eax
    call hex
    movl 0xFEE00030, %eax
    andl $0xFF, %eax
    call hex
    movl $0xB, 0xFEE003E0
    movl $0x20041, 0xFEE00320           # periodic
    movl $1000000, 0xFEE00380
    await timers, 5
    movl $0x10000, 0xFEE00320
    movl $0, 0xFEE00380
    movl 0xFEE00390, %eax
    call hex
    movl $0x00044042, 0xFEE00300        # to self
    await ipis, 1
    movl ipis, %eax
    call hex
    movl $0, 0xFEE00310
    movl $0x00004400, 0xFEE00300        # NMI to CPU 0
1:  cmpl $0, nmis
    je 1b
    movl nmis, %eax
    call hex

    say "\\ntype: "
1:  inport 0x3FD
    testb $1, %al
    jz 1b
    inport 0x3F8
    call putc
    incl typed
    cmpb $10, %al
    jne 1b
    movl typed, %eax
    call hex
    ret

leave:                                  # by the reset control register
    outport 0xCF9, 2
    outport 0xCF9, 6
    ret
.align 4
ticks: .long 0
disks: .long 0
pins: .long 0
timers: .long 0
ipis: .long 0
nmis: .long 0
keys: .long 0
typed: .long 0
"""
)
