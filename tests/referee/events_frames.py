# SPDX-License-Identifier: GPL-2.0-or-later
"""What is pushed through the kinds of gates, on the kinds of stacks, in ring 0."""

CPUS = 1
TIMED = False
# QEMU enters the handler, whatever the limit of its segment.
DIFFERS = {"6.15 GP gate's offset beyond the limit": "v0d e0000 c0008 i00000000 f00000002 s0017fff4"}
BODY = """
    case "6.15 GP gate's offset beyond the limit"
    setgate 0x40, (flags - header), 0x8E, 0xB8
    try
    int $0x40
    done
    usualgate 0x40
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
