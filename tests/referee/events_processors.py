# SPDX-License-Identifier: GPL-2.0-or-later
"""INIT and SIPI, real mode and its vector table on the second CPU, interrupts between two CPUs, shutdown."""

CPUS = 2
TIMED = True
# QEMU does not arbitrate: the first of those addressed gets it.
DIFFERS = {"10.6.2.4 lowest priority, TPR decides": "here 0 sum 09"}
BODY = """
.set CODE16, 0x70000
.set NOTES, 0x71000                     # what the AP writes
.macro icr high, low
    movl $\\high << 24, 0xFEE00310
    movl $\\low, 0xFEE00300
.endm
.macro settle
    movl $10000, %ecx
6:  inb $0x80, %al
    loop 6b
.endm
.macro await what, value
6:  pause
    cmpl $\\value, \\what
    jne 6b
.endm
.macro notes from, count                # words
    movl $(NOTES + \\from), %esi
    movl $\\count, %edi
6:  say " "
    movzwl (%esi), %eax
    number %eax, 4
    addl $2, %esi
    decl %edi
    jnz 6b
.endm
.macro sipi vector                      # INIT, a while, SIPI
    movl $0, NOTES + 0xFFC
    icr 1, 0x4500
    settle
    icr 1, (0x4600 + \\vector)
.endm
    movl $ap16, %esi
    movl $CODE16, %edi
    movl $(ap16_end - ap16), %ecx
    rep movsb
    movl $NOTES, %edi
    movl $0x400, %ecx
    xorl %eax, %eax
    rep stosl
    movl $0x70000000 + (rec - ap16), 0x21 * 4
    movl $0x70000000 + (rec - ap16), 3 * 4
    movl $0x70000000 + (rec - ap16), 4 * 4
    movl $0x70000000 + (rec - ap16), 1 * 4
    movl $0x70000000 + (rec2 - ap16), 0 * 4
    movl $0x70000000 + (rec2 - ap16), 6 * 4
    movl $0x70000000 + (rec3 - ap16), 13 * 4
    movl $0x1FF, 0xFEE000F0
    movl $0x10000, 0xFEE00350
    setgate 0x41, bumps
    setgate 2, bumps_nmi

    case "8.4.4 INIT and SIPI"
    sipi 0x70
    await NOTES+0xFFC, 1
    say " began"
    done
    case "8.4.4.1 state after SIPI, CS, IP, CR0, EFLAGS, SS, SP, DX"
    notes 0, 8
    done
    case "20.1.4 INT, IP CS FLAGS SP and FLAGS now"
    notes 0x10, 5
    done
    case "20.1.4 after IRET, FLAGS and SP"
    notes 0x1A, 2
    done
    case "20.1.4 divide error pushes the instruction"
    notes 0x20, 5
    done
    case "20.1.4 invalid opcode"
    notes 0x2A, 5
    done
    case "20.1.4 INT3"
    notes 0x34, 5
    done
    case "20.1.4 INTO"
    notes 0x3E, 5
    done
    case "20.1.4 single step"
    notes 0x48, 10
    done
    case "20.1.4 vector beyond the limit"
    notes 0x60, 5
    done
    case "20.1.4 SP wraps"
    notes 0x70, 5
    done
    case "8.4.4.1 a second SIPI is ignored"
    movl $0, NOTES + 0xFFC
    icr 1, 0x4670
    settle
    say " "
    number NOTES + 0xFFC, 1
    done
    case "8.4.4.1 INIT stops it, SIPI with another vector"
    movl $0x00A3C88C, 0x72000           # movw %cs, %ax; movw %ax, 0x7F00 (DS is 0)
    movb $0x7F, 0x72004
    movl $0xFDEBF4FA, 0x72005           # cli; hlt; jmp to the hlt
    movl $0, 0x7F00
    sipi 0x72
    await 0x7F00, 0x7200
    say " "
    number 0x7F00, 4
    done

    movl $protected, CODE16 + (ap16_goes - ap16)
    sipi 0x70
    await up, 1
    case "10.6 fixed, physical"
    icr 1, 0x4041
    await counts+4, 1
    call both
    done
    case "10.6 all excluding self"
    icr 0, 0xC4041
    await counts+4, 2
    call both
    done
    case "10.6 all including self"
    icr 0, 0x84041
    sti
    await counts, 1
    await counts+4, 3
    cli
    call both
    done
    case "10.6.2.2 logical, flat"
    movl $0x01000000, 0xFEE000D0
    icr 2, 0x4841
    await counts+4, 4
    call both
    done
    case "10.6.2.2 logical, nobody"
    icr 4, 0x4841
    settle
    call both
    done
    case "10.6.2.1 physical broadcast"
    icr 255, 0x4041
    sti
    await counts, 2
    await counts+4, 5
    cli
    call both
    done
    case "10.6.2.4 lowest priority, one of two alike"
    icr 3, 0x4941
    sti
    settle
    cli
    call sum
    done
    case "10.6.2.4 lowest priority, TPR decides"
    movl $0x80, 0xFEE00080
    movl counts, %ebx
    icr 3, 0x4941
    sti
    settle
    movl $0, 0xFEE00080
    settle
    cli
    subl counts, %ebx
    negl %ebx
    say " here "
    number %ebx, 1
    call sum
    done
    case "6.7.1 NMI to the other wakes its hlt, whatever its IF"
    icr 1, 0x4400
    await nmis+4, 1
    say " got it"
    done
    case "10.6 NMI all excluding self"
    icr 0, 0xC4400
    await nmis+4, 2
    settle
    say " "
    number nmis, 1
    number nmis+4, 1
    done
    case "6.8.1 cli; hlt is not woken by a fixed interrupt"
    movl $1, deaf
    icr 1, 0x4041
    settle
    movl counts+4, %ebx
    icr 1, 0x4041
    settle
    cmpl counts+4, %ebx
    jne 1f
    say " sleeps"
1:  done
    case "8.4.4 INIT ends that"
    movl $0, up
    movl $0, deaf
    sipi 0x70
    await up, 1
    say " up"
    done
    say "\\nend\\n"
    movw $0x3FD, %dx
1:  inb %dx, %al
    testb $0x40, %al
    jz 1b
    movl $1, dies                       # shutdown of any CPU resets the PC
    icr 1, 0x4041
1:  hlt
    jmp 1b

both:
    say " "
    number counts, 2
    say " "
    number counts+4, 2
    ret
sum:
    movl counts, %eax
    addl counts+4, %eax
    say " sum "
    number %eax, 2
    ret
bumps:
    pushl %eax
    movl 0xFEE00020, %eax
    shrl $24, %eax
    incl counts(,%eax,4)
    movl $0, 0xFEE000B0
    popl %eax
    iretl
bumps_nmi:
    pushl %eax
    movl 0xFEE00020, %eax
    shrl $24, %eax
    incl nmis(,%eax,4)
    popl %eax
    iretl
protected:                              # the AP, in protected mode
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0x17C000, %esp
    lidt idtr
    movl $0x1FF, 0xFEE000F0
    movl $0x02000000, 0xFEE000D0
    movl $-1, 0xFEE000E0
    movl $1, up
1:  sti
    hlt
    cmpl $0, dies
    jne 2f
    cmpl $0, deaf
    je 1b
    cli
    hlt
    jmp 1b
2:  lidt nothing
    int3
    jmp 2b
.p2align 3
counts: .long 0, 0
nmis: .long 0, 0
up: .long 0
deaf: .long 0
dies: .long 0
nothing: .word 0
    .long 0

.p2align 4
.code16
ap16:
    jmp 1f
.p2align 2
ap16_goes: .long 0
1:  cli
    movl %eax, %ebp
    pushfl
    popl %ecx
    movw $0x7100, %ax
    movw %ax, %ds
    movw %cs, %ax
    movw %ax, 0
    movw $0, 2
    movl %cr0, %eax
    movl %eax, 4
    movw %cx, 8
    movw %ss, %ax
    movw %ax, 10
    movw %sp, 12
    lgdtl %cs:(ap16_gdtr - ap16)
    cmpl $0, %cs:(ap16_goes - ap16)
    jne 3f
    movw $0x7300, %ax
    movw %ax, %ss
    movw $0x100, %sp
    movw $0x10, %di                     # where the next record goes
    sti
    cld
    int $0x21
    pushfw
    popw %ax
    movw %ax, 0x1A
    movw %sp, 0x1C
    cli
    movw $0x20, %di
    xorw %cx, %cx
    pushw $2
    popfw
    divb %cl
    pushw $2
    popfw
    movw $0x2A, %di
    ud2
    movw $0x34, %di
    int3
    movw $0x3E, %di
    pushw $0x802
    popfw
    into
    movw $0x48, %di
    pushw $0x102
    popfw
    nop
    pushw $2
    popfw
    movw $0x60, %di
    lidtl %cs:(ap16_idtr - ap16)
    int $0x40
    lidtl %cs:(ap16_all - ap16)
    movw $0x70, %di
    movw $4, %sp
    int $0x21
    movl $1, 0xFFC
2:  cli
    hlt
    jmp 2b
3:  movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl *%cs:(ap16_far - ap16)
ap16_far: .long protected
    .word 8
ap16_gdtr: .word gdt_end - gdt - 1
    .long gdt
ap16_idtr: .word 0x3F * 4 + 3
    .long 0
ap16_all: .word 0x3FF
    .long 0
rec2:                                   # as rec, and goes on behind a two-byte instruction
    movw %sp, %bp
    call rec_one
    addw $2, (%bp)
    iretw
rec3:
    movw %sp, %bp
    call rec_one
    addw $2, (%bp)
    iretw
rec:
    movw %sp, %bp
    call rec_one
    iretw
rec_one:
    movw (%bp), %ax
    movw %ax, (%di)
    movw 2(%bp), %ax
    movw %ax, 2(%di)
    movw 4(%bp), %ax
    movw %ax, 4(%di)
    movw %bp, 6(%di)
    pushfw
    popw %ax
    movw %ax, 8(%di)
    addw $10, %di
    ret
ap16_end:
.code32
after:
"""
