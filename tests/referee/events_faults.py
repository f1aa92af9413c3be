# SPDX-License-Identifier: GPL-2.0-or-later
"""Exceptions in ring 0 without paging."""

CPUS = 1
# QEMU enters the handler, whatever the limit of its segment.
DIFFERS = {"6.15 GP gate's offset beyond the limit": "v0d e0000 c0008 i00000000 f00000002 s0017fff4"}
BODY = """
    case "6.15 DE by zero"
    xorl %ecx, %ecx
    try
    divl %ecx
    done
    case "6.15 DE quotient too large"
    movl $2, %edx
    movl $1, %ecx
    try
    divl %ecx
    done
    case "6.15 DE idiv, most negative by -1"
    movl $0x80000000, %eax
    cltd
    movl $-1, %ecx
    try
    idivl %ecx
    done
    case "6.15 DE aam 0"
    try
    .byte 0xD4, 0
    done
    case "17.3.1.4 DB single step"
    returns 3
    try 0x102
    nop
    movl $1, %eax
    pushl $2
    popfl
    nop
    done
    case "17.3.1.4 DB single step, popf sets TF"
    returns 2
    try
    pushl $0x102
    popfl
    nop
    pushfl
    andl $~0x100, (%esp)
    popfl
    done
    case "17.3.1.4 DB single step over int"
    returns 4
    try 0x102
    int $0x40
    nop
    pushl $2
    popfl
    done
    case "17.3.1.4 DB single step over rep"
    returns 4
    movl $SPACE + 0x300, %edi
    movl $3, %ecx
    try 0x102
    rep stosb
    pushl $2
    popfl
    done
    case "6.15 BP int3"
    returns 1
    try
    int3
    done
    case "6.15 BP int 3 in two bytes"
    returns 1
    try
    .byte 0xCD, 3
    done
    case "6.15 OF into"
    returns 1
    try 0x802
    into
    done
    case "6.15 OF into without overflow"
    try
    into
    done
    case "6.15 BR bound"
    movl $5, %eax
    movl $0, SPACE + 0x300
    movl $4, SPACE + 0x304
    try
    bound %eax, SPACE + 0x300
    done
    case "6.15 BR bound inside"
    movl $4, %eax
    try
    bound %eax, SPACE + 0x300
    done
    case "6.15 UD ud2"
    try
    ud2
    done
    case "6.15 UD lock nop"
    try
    .byte 0xF0, 0x90
    done
    case "6.15 UD lock mov"
    try
    .byte 0xF0, 0x89, 0x00
    done
    case "6.15 UD mov to cs"
    try
    .byte 0x8E, 0xC8
    done
    case "6.15 UD lea register"
    try
    .byte 0x8D, 0xC0
    done
    case "6.15 UD mov from cr1"
    try
    .byte 0x0F, 0x20, 0xC8
    done
    case "6.15 UD les register"
    try
    .byte 0xC4, 0xC0
    done
    case "6.15 UD rsm"
    try
    rsm
    done
    case "6.15 NM fninit under TS"
    movl $0x19, %eax
    movl %eax, %cr0
    try
    fninit
    done
    case "6.15 NM fninit under EM"
    movl $0x15, %eax
    movl %eax, %cr0
    try
    fninit
    done
    case "6.15 NM wait under TS and MP"
    movl $0x1B, %eax
    movl %eax, %cr0
    try
    fwait
    done
    case "6.15 NM wait under TS alone"
    movl $0x19, %eax
    movl %eax, %cr0
    try
    fwait
    done
    case "6.15 NM clts ends it"
    movl $0x19, %eax
    movl %eax, %cr0
    clts
    try
    fninit
    done

    case "6.15 NP data segment"
    movw $0x48, %ax
    try
    movw %ax, %es
    done
    case "6.15 NP far jump"
    try
    ljmp $0x50, $0
    done
    case "6.15 NP ltr"
    movw $0x80, %ax
    try
    ltr %ax
    done
    case "6.15 NP gate"
    setgate 0x40, stubs, 0x0E
    try
    int $0x40
    done
    case "6.15 NP gate's code segment"
    setgate 0x40, stubs, 0x8E, 0x50
    try
    int $0x40
    done
    case "6.15 NP iret"
    pushl $2
    pushl $0x50
    pushl $0
    try
    iretl
    done
    case "6.15 SS load of one that is not present"
    movw $0x48, %ax
    try
    movw %ax, %ss
    done
    case "6.15 SS limit, push"
    movw $0x58, %ax
    movw %ax, %ss
    movl $0x1002, %esp
    movl $8f, at
8:  movl %eax, (%esp)
    done
    case "6.15 GP ss null"
    xorl %eax, %eax
    try
    movw %ax, %ss
    done
    case "6.15 GP ss read only"
    movw $0x60, %ax
    try
    movw %ax, %ss
    done
    case "6.15 GP ss of the wrong privilege"
    movw $0x98, %ax
    try
    movw %ax, %ss
    done
    case "6.15 GP ss of the wrong rpl"
    movw $0x11, %ax
    try
    movw %ax, %ss
    done
    case "6.15 GP selector beyond the GDT"
    movw $0x1000, %ax
    try
    movw %ax, %es
    done
    case "6.15 GP selector in a null LDT"
    movw $0x0C, %ax
    try
    movw %ax, %es
    done
    case "6.15 GP execute only as data"
    movw $0x68, %ax
    try
    movw %ax, %es
    done
    case "6.15 GP system descriptor as data"
    movw $0x28, %ax
    try
    movw %ax, %es
    done
    case "6.15 GP null selector loads"
    xorl %eax, %eax
    try
    movw %ax, %es
    movw %ax, %fs
    done
    case "6.15 GP null selector used"
    xorl %eax, %eax
    movw %ax, %es
    try
    movl %es:0, %eax
    done
    case "6.15 GP limit, read"
    movw $0x58, %ax
    movw %ax, %es
    try
    movl %es:0xFFD, %eax
    done
    case "6.15 GP limit, last doubleword"
    movw $0x58, %ax
    movw %ax, %es
    try
    movl %es:0xFFC, %ecx
    done
    case "6.15 GP expand down, below"
    movw $0x90, %ax
    movw %ax, %es
    try
    movl %es:0xFFFFC, %ecx
    done
    case "6.15 GP expand down, above"
    movw $0x90, %ax
    movw %ax, %es
    try
    movl %es:0x100000, %ecx
    done
    case "6.15 GP write to read only"
    movw $0x60, %ax
    movw %ax, %es
    try
    movl %eax, %es:SPACE + 0x300
    done
    case "6.15 GP write to code"
    try
    movl %eax, %cs:SPACE + 0x300
    done
    case "6.15 GP read of execute only"
    ljmp $0x68, $1f
1:  movl $8f, at
8:  movl %cs:SPACE + 0x300, %eax
    done
    case "6.15 GP far jump to data"
    try
    ljmp $0x10, $0
    done
    case "6.15 GP far jump to null"
    try
    ljmp $0, $0
    done
    case "6.15 GP far jump beyond the limit"
    try
    ljmp $0xB8, $0x2000
    done
    case "6.15 GP far call to ring 3 code"
    try
    lcall $0x18, $0
    done
    case "6.15 GP jump beyond the limit"
    ljmp $0xB8, $1f - header
1:  movl $8f, at
    movl $0x2000, %eax
8:  jmpl *%eax
    done
    case "6.15 GP lldt of a TSS"
    movw $0x28, %ax
    try
    lldt %ax
    done
    case "6.15 GP ltr of a busy TSS"
    movw $0x28, %ax
    try
    ltr %ax
    done
    case "6.15 GP ltr of null"
    xorl %eax, %eax
    try
    ltr %ax
    done
    case "6.15 GP gate that is none"
    setgate 0x40, stubs, 0x80
    try
    int $0x40
    done
    case "6.15 GP gate's selector null"
    setgate 0x40, stubs, 0x8E, 0
    try
    int $0x40
    done
    case "6.15 GP gate's selector data"
    setgate 0x40, stubs, 0x8E, 0x10
    try
    int $0x40
    done
    case "6.15 GP gate's selector beyond the GDT"
    setgate 0x40, stubs, 0x8E, 0x1000
    try
    int $0x40
    done
    case "6.15 GP gate to a lower privilege"
    setgate 0x40, stubs, 0x8E, 0x18
    try
    int $0x40
    done
    case "6.15 GP gate's offset beyond the limit"
    setgate 0x40, (flags - header), 0x8E, 0xB8
    try
    int $0x40
    done
    usualgate 0x40
    case "6.15 GP iret to null"
    pushl $2
    pushl $0
    pushl $0
    try
    iretl
    done
    case "6.15 GP iret to ring 3 code with rpl 0"
    pushl $2
    pushl $0x18
    pushl $0
    try
    iretl
    done
    case "6.15 GP far return to data"
    pushl $0x10
    pushl $0
    try
    lretl
    done
    case "6.15 GP fifteen bytes and one more"
    try
    .byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
    done

    case "6.4.4 software INT 13 has no error code"
    setgate 13, bare13
    returns 1
    try
    int $13
    done
    usualgate 13
    case "6.8.1 trap gate keeps IF"
    setgate 0x40, flags, 0x8F
    try 0x202
    int $0x40
    done
    case "6.8.1 interrupt gate clears IF"
    setgate 0x40, flags, 0x8E
    try 0x202
    int $0x40
    done
    case "6.12.1.3 flags cleared in the handler"
    setgate 0x40, flags, 0x8F
    try 0x44CD7
    int $0x40
    done
    case "6.12.1.3 flags restored by iret"
    setgate 0x40, quiet, 0x8F
    try 0x240CD7
    int $0x40
    pushfl
    popl %eax
    say " f"
    number %eax, 8
    done
    case "6.11 16-bit interrupt gate"
    setgate 0x40, words, 0x86, 0x40
    movw $(words - header), IDT + 0x40 * 8
    movw $0, IDT + 0x40 * 8 + 6
    try 0x2D7
    int $0x40
    done
    case "6.11 16-bit trap gate"
    setgate 0x40, words, 0x87, 0x40
    movw $(words - header), IDT + 0x40 * 8
    movw $0, IDT + 0x40 * 8 + 6
    try 0x2D7
    int $0x40
    done
    case "6.11 16-bit gate, error code"
    setgate 13, words, 0x87, 0x40
    movw $(words - header), IDT + 13 * 8
    movw $0, IDT + 13 * 8 + 6
    movw $0x60, %ax
    try
    movw %ax, %ss
    done
    usualgate 13
    case "6.12.1 16-bit stack segment"
    setgate 0x40, wrapped
    movw $0xA0, %ax
    movw %ax, %ss
    movl $0x12340100, %esp
    int $0x40
    done
    case "6.12.1 16-bit stack wraps"
    setgate 0x40, wrapped
    movw $0xA0, %ax
    movw %ax, %ss
    movl $0x12340004, %esp
    int $0x40
    done
    case "6.12.1 conforming code segment in ring 0"
    setgate 0x40, (stubs + 0x40 * 16), 0x8E, 0x38
    try
    int $0x40
    done
    usualgate 0x40
    case "5.8.3.1 far jump to a conforming segment"
    ljmp $0x38, $1f
1:  movl $8f, at
8:  int3
    done
    jmp after
flags:
    pushfl
    popl %eax
    say " f"
    number %eax, 8
    jmp resume0
quiet:
    pushl $2
    popfl
    iretl
words:                                  # entered in a 16-bit segment; says four words of the stack
    .code16
    ljmpl $8, $1f
    .code32
1:  movl %esp, %ebp
    say " w"
    movzwl (%ebp), %eax
    addl $BASE, %eax
    subl at, %eax
    number %eax, 8
    say " "
    number 2(%ebp), 8
    say " "
    number 6(%ebp), 4
    say " s"
    number %ebp, 8
    pushfl
    popl %eax
    say " f"
    number %eax, 8
    jmp resume0
wrapped:
    movl %esp, %ebx
    movw $0x10, %ax
    movw %ax, %ss
    movl $STACK, %esp
    say " s"
    number %ebx, 8
    jmp resume0
after:
"""
