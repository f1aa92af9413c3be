# SPDX-License-Identifier: GPL-2.0-or-later
"""#NP, #SS and #GP of selectors, segments and gates in ring 0, without paging.

The limit and type checks of plain accesses are TCG's, which has none: those cases say nothing, here and on QEMU.
"""

CPUS = 1
TIMED = False
DIFFERS: dict[str, str] = {}
BODY = """
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
    xorl %eax, %eax
    lldt %ax
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
"""
