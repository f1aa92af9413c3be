# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI configuration space, and the first disk by PIO and by bus-master DMA; leaves by the keyboard controller."""

from __future__ import annotations

BODY = """
.set TABLE, 0x1F8000
.macro pciread slot, function, offset
    movl $(0x80000000 | \\slot << 11 | \\function << 8 | \\offset), %eax
    movw $0xCF8, %dx
    outl %eax, %dx
    movw $0xCFC, %dx
    inl %dx, %eax
.endm
.macro disk code, lba, count            # LBA28, master
    outport 0x1F6, 0xE0
    outport 0x1F2, \\count
    outport 0x1F3, \\lba
    outport 0x1F4, 0
    outport 0x1F5, 0
    outport 0x1F7, \\code
.endm

busy:                                   # until BSY clears; eax = status
    inport 0x3F6
    testb $0x80, %al
    jnz busy
    inport 0x1F7
    ret
failed:                                 # the status but for DSC, which QEMU clears on errors and drives leave alone
    call busy
    andb $0xEF, %al
    jmp hex
sum:                                    # esi, ecx doublewords; eax = a sum that knows their order
    xorl %eax, %eax
1:  roll $3, %eax
    addl (%esi), %eax
    addl $4, %esi
    decl %ecx
    jnz 1b
    ret
settle:                                 # a while
    movl $100000, %ecx
1:  inb $0x80, %al
    decl %ecx
    jnz 1b
    ret

main:
    say "pci"
    pciread 0, 0, 0
    call hex
    pciread 1, 0, 0
    call hex
    pciread 1, 1, 0
    call hex
    pciread 1, 1, 8
    shrl $8, %eax
    call hex
    pciread 31, 7, 0
    call hex
    pciread 1, 1, 0x20
    pushl %eax
    movl $0xFFFFFFFF, %eax
    outl %eax, %dx
    inl %dx, %eax
    call hex
    popl %eax
    outl %eax, %dx
    andl $0xFFFC, %eax
    movl %eax, master
    pciread 1, 1, 4
    orl $5, %eax
    outl %eax, %dx
    inl %dx, %eax
    andl $5, %eax
    call hex

    say "\\nabsent"
    outport 0x3F6, 2
    outport 0x1F6, 0xB0
    inport 0x1F7
    call hex
    outport 0x1F7, 0xEC
    inport 0x1F7
    call hex
    outport 0x176, 0xB0
    inport 0x177
    call hex
    outport 0x1F6, 0xA0

    say "\\nreset"
    outport 0x3F6, 6                    # (whether BSY shows meanwhile, QEMU and ATA do not agree)
    call settle
    outport 0x3F6, 2
    call settle
    call busy
    call hex
    inport 0x1F1
    call hex
    inport 0x1F2
    call hex
    inport 0x1F3
    call hex
    inport 0x1F4
    call hex
    inport 0x1F5
    call hex

    say "\\nidentify"
    outport 0x1F7, 0xEC
    call busy
    call hex
    movl $0x200000, %edi
    movw $0x1F0, %dx
    movl $256, %ecx
    cld
    rep insw
    inport 0x1F7
    call hex
    movzwl 0x200000, %eax
    call hex
    movzwl 0x200000 + 2*49, %eax
    andl $0x0300, %eax
    call hex
    movzwl 0x200000 + 2*53, %eax
    call hex
    movl 0x200000 + 2*60, %eax
    call hex
    movzwl 0x200000 + 2*83, %eax
    andl $0x7400, %eax
    call hex
    movzwl 0x200000 + 2*88, %eax
    call hex
    movl 0x200000 + 2*100, %eax
    call hex

    say "\\nread"
    disk 0x20, 5, 3
    movl $0x200000, %edi
    movl $3, %ebx
1:  call busy
    call hex
    movw $0x1F0, %dx
    movl $128, %ecx
    rep insl
    decl %ebx
    jnz 1b
    inport 0x1F7
    call hex
    movl $0x200000, %esi
    movl $384, %ecx
    call sum
    call hex

    say "\\nmultiple"
    outport 0x1F2, 4
    outport 0x1F7, 0xC6
    call busy
    call hex
    disk 0xC4, 17, 6
    call busy
    call hex
    movl $0x200000, %edi
    movw $0x1F0, %dx
    movl $1024, %ecx
    rep insw
    call busy
    call hex
    movw $0x1F0, %dx
    movl $512, %ecx
    rep insw
    inport 0x1F7
    call hex
    movl $0x200000, %esi
    movl $768, %ecx
    call sum
    call hex

    say "\\nwrite"
    disk 0x30, 40, 2
    movl $0x200200, %esi
    movl $2, %ebx
1:  call busy
    call hex
    movw $0x1F0, %dx
    movl $256, %ecx
    rep outsw
    decl %ebx
    jnz 1b
    call busy
    call hex
    outport 0x1F7, 0xE7
    call busy
    call hex
    outport 0x1F2, 0                    # READ SECTORS EXT: the high bytes first
    outport 0x1F3, 0
    outport 0x1F4, 0
    outport 0x1F5, 0
    disk 0x24, 41, 1
    call busy
    movl $0x210000, %edi
    movw $0x1F0, %dx
    movl $256, %ecx
    rep insw
    movl $0x210000, %esi
    movl $128, %ecx
    call sum
    call hex

    say "\\nchs"
    outport 0x1F6, 0xA1
    outport 0x1F2, 1
    outport 0x1F3, 9
    outport 0x1F4, 0
    outport 0x1F5, 0
    outport 0x1F7, 0x20
    call busy
    call hex
    movl $0x210000, %edi
    movw $0x1F0, %dx
    movl $128, %ecx
    rep insl
    movl 0x210000, %eax
    call hex

    say "\\nerrors"
    outport 0x1F7, 0xFF
    call failed
    inport 0x1F1
    call hex
    outport 0x1F1, 0x77
    outport 0x1F7, 0xEF
    call failed
    outport 0x1F6, 0xEF
    outport 0x1F2, 1
    outport 0x1F7, 0x20
    call failed
    outport 0x1F7, 0xE5
    call busy
    call hex
    inport 0x1F2
    call hex

    say "\\ndma"
    outport 0x3F6, 0
    movl $0x200000, TABLE
    movl $0x1200, TABLE + 4
    movl $0x210000, TABLE + 8
    movl $0x80000E00, TABLE + 12
    movb $8, %bl
    movb $0xC8, %bh
    movb $0, %cl
    call dma
    movl $0x200000, %esi
    movl $0x1200 / 4, %ecx
    call sum
    call hex
    movl $0x210000, %esi
    movl $0xE00 / 4, %ecx
    call sum
    call hex
    movb $0, %bl
    movb $0xCA, %bh
    movb $64, %cl
    call dma
    disk 0x20, 79, 1
    call busy
    movl $0x220000, %edi
    movw $0x1F0, %dx
    movl $128, %ecx
    rep insl
    movl 0x2201FC, %eax
    call hex
    movl $0x80002000, TABLE + 12        # a table longer than the transfer
    movb $8, %bl
    movb $0xC8, %bh
    movb $32, %cl
    call dma
    ret

dma:                                    # bl direction, bh command, cl first sector; 16 sectors
    movl $TABLE, %eax
    movl master, %edx
    addl $4, %edx
    outl %eax, %dx
    movl master, %edx
    movb %bl, %al
    outb %al, %dx
    addl $2, %edx
    movb $6, %al
    outb %al, %dx
    pushl %ecx
    disk 0, 0, 16                       # NOP: sets the registers and clears the error
    call busy
    popl %ecx
    movw $0x1F3, %dx
    movb %cl, %al
    outb %al, %dx
    movl master, %edx                   # the aborted NOP raised an interrupt too
    addl $2, %edx
    movb $6, %al
    outb %al, %dx
    movw $0x1F7, %dx
    movb %bh, %al
    outb %al, %dx
    movl master, %edx
    movb %bl, %al
    orb $1, %al
    outb %al, %dx
    addl $2, %edx
1:  xorl %eax, %eax
    inb %dx, %al
    testb $4, %al
    jz 1b
    andb $7, %al
    call hex
    call busy
    call hex
    movl master, %edx
    movb $0, %al
    outb %al, %dx
    addl $2, %edx
    movb $6, %al
    outb %al, %dx
    xorl %eax, %eax
    inb %dx, %al
    andb $7, %al
    jmp hex

leave:                                  # by the keyboard controller
    inb $0x64, %al
    testb $2, %al
    jnz leave
    movb $0xFE, %al
    outb %al, $0x64
    ret
.align 4
master: .long 0
"""
