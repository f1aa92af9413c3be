# SPDX-License-Identifier: GPL-2.0-or-later
"""Three small Multiboot kernels in assembly, owing nothing to ours, that ask a PC's devices what they do.

They say on the first serial port what they see; the same image runs on kdumpsim and on QEMU and must say the same.
Each is a flat image with the address fields of the Multiboot header, at 1 MiB, ended by a reset of its own kind.
"""

from __future__ import annotations

_LIBRARY = """
.set BASE, 0x100000
.code32
header:
    .long 0x1BADB002, 0x00010003, -(0x1BADB002 + 0x00010003)
    .long BASE, BASE, 0, BASE + 0x20000, start

.macro say text
    jmp 2f
1:  .asciz "\\text"
2:  movl $1b, %esi
    call puts
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

start:
    movl $0x1F0000, %esp
    movl %eax, magic
    movl %ebx, info
    outport 0x3F9, 0
    outport 0x3FB, 0x80
    outport 0x3F8, 1
    outport 0x3F9, 0
    outport 0x3FB, 3
    outport 0x3FA, 7
    outport 0x3FC, 0x0B
    call main
    say "\\nbye\\n"
    call drain
    call leave
halt:
    hlt
    jmp halt

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
hex:                                    # eax, a space before it
    pushl %ecx
    pushl %eax
    movb $32, %al
    call putc
    popl %eax
    movl $8, %ecx
1:  roll $4, %eax
    pushl %eax
    andb $15, %al
    cmpb $10, %al
    jb 2f
    addb $39, %al
2:  addb $48, %al
    call putc
    popl %eax
    decl %ecx
    jnz 1b
    popl %ecx
    ret
.align 4
magic: .long 0
info: .long 0
"""

DISK = (
    _LIBRARY
    + """
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
)

_INTERRUPTS = """
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

INTERRUPTS = (
    _LIBRARY
    + _INTERRUPTS
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

PROCESSORS = (
    _LIBRARY
    + _INTERRUPTS
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
