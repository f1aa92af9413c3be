# SPDX-License-Identifier: GPL-2.0-or-later
"""Ring 3, inner stacks, gates and virtual-8086 mode, without paging."""

CPUS = 1
TIMED = False
# RF again, which QEMU leaves clear.
DIFFERS = {
    "20.2 v86, divide error": "ds0000 fs0000 frame 0000000c 00007000 00033046 00001000 00002000 00003000 00004000"
    " 00005000 00006000 f00003046"
}
PRIVILEGED = {
    "cli": "cli",
    "sti": "sti",
    "hlt": "hlt",
    "in": "inb $0x80, %al",
    "out": "outb %al, $0x80",
    "mov to cr0": "movl %eax, %cr0",
    "mov from cr3": "movl %cr3, %eax",
    "mov to dr7": "movl %eax, %dr7",
    "lgdt": "lgdt gdtr",
    "lidt": "lidt idtr",
    "lldt": "lldt %ax",
    "ltr": "ltr %ax",
    "lmsw": "lmsw %ax",
    "clts": "clts",
    "invlpg": "invlpg 0",
    "invd": "invd",
    "wbinvd": "wbinvd",
    "rdmsr": "rdmsr",
    "wrmsr": "wrmsr",
}
V86 = """
.macro v86 flags, at                    # with segments one can tell apart
    movl $0x10000000, at
    pushl $0x6000                       # gs, fs, ds, es
    pushl $0x5000
    pushl $0x4000
    pushl $0x3000
    pushl $0x2000                       # ss, esp
    pushl $0x1000
    pushl $\\flags
    pushl $0x7000
    pushl $\\at
    iretl
.endm
"""
BODY = (
    V86
    + "".join(f'case "5.9 GP {name} in ring 3"\nuser\n{text}\nint $0x81\ndone\n' for name, text in PRIVILEGED.items())
    + """
    case "5.10.1 unprivileged in ring 3"
    user
    sgdt SPACE + 0x300
    smsw %ax
    int3
    done
    case "6.12.1 IOPL 3 lets cli pass"
    setgate 0x40, (stubs + 0x40 * 16), 0xEE
    user 0x3202
    cli
    int $0x40
    done
    case "6.12.1 popf in ring 3 keeps IF and IOPL"
    user 2
    pushl $0x3202
    popfl
    int $0x40
    done
    case "6.12.1 int to a ring 0 gate that allows it"
    user 0x202
    int $0x40
    done
    case "6.12.1.2 GP int to a ring 0 gate that does not"
    user
    int $0x41
    done
    case "6.12.1.2 GP int3 to a ring 0 gate that does not"
    user
    int3
    done
    case "6.12.1.2 GP into to a ring 0 gate that does not"
    user 0x802
    into
    done
    case "6.12.1.2 BP a gate that allows it"
    setgate 3, (stubs + 3 * 16), 0xEE
    returns 1
    user
    int3
    int $0x81
    done
    case "6.12.1.2 GP vector beyond the IDT"
    lidt short_idtr
    try
    int $0x90
    done
    case "6.12.1.2 GP vector beyond the IDT, ring 3"
    user
    int $0x90
    done
    lidt idtr
    case "6.12.1 exception from ring 3"
    user
    xorl %ecx, %ecx
    divl %ecx
    done
    case "6.12.1 ring 3 and back, twice"
    returns 2
    user 0xCD7
    int $0x40
    int $0x40
    int $0x81
    done
    case "5.6 GP ring 3 loads a ring 0 data segment"
    user
    movw $0x10, %ax
    movw %ax, %es
    done
    case "5.7 GP ring 3 loads a ring 0 stack segment"
    user
    movw $0x10, %ax
    movw %ax, %ss
    done
    case "5.8.1 GP ring 3 jumps to ring 0 code"
    user
    ljmp $8, $0
    done
    case "5.8.1.2 ring 3 jumps to conforming code"
    user
    ljmp $0x38, $1f
1:  int $0x40
    done
    case "6.12.1 conforming handler runs in ring 3"
    setgate 0x42, (stubs + 0x42 * 16), 0xEE, 0x38
    user 0x3002
    int $0x42
    done
    case "6.12.1 ring 3 handler"
    setgate 0x42, (stubs + 0x42 * 16), 0xEE, 0x18
    user 0x3002
    int $0x42
    done
    case "6.12.1 iret to an outer ring drops what it may not see"
    user
    movl %ds, %eax
    movl %fs, %ecx
    int $0x40
    done
    case "5.8.5 GP iret to ring 3 with a ring 0 stack"
    movl $8f, at
    pushl $0x10
    pushl $STACK3
    pushl $2
    pushl $0x1B
    pushl $0
8:  iretl
    done
    case "5.8.5 SS iret to ring 3 with a null stack"
    movl $8f, at
    pushl $0
    pushl $STACK3
    pushl $2
    pushl $0x1B
    pushl $0
8:  iretl
    done
    case "6.12.1 an odd stack in ring 3"
    user 2, 0x23, 0x18800D
    int $0x40
    done

    case "5.8.4 call gate from ring 3"
    movl $gated, %eax
    call gates
    user 0xCD7
    lcall $0x73, $0
    done
    case "5.8.4 call gate from ring 3, two parameters"
    user
    pushl $0x11111111
    pushl $0x22222222
    lcall $0x7B, $0
    done
    case "5.8.4 call gate from ring 0"
    try
    lcall $0x70, $0
    done
    case "5.8.4 call gate, far return to ring 3"
    movl $returned, %eax
    call gates
    user
    pushl $0x11111111
    pushl $0x22222222
    lcall $0x7B, $0
    int $0x40
    done
    case "5.8.4 GP call gate of dpl 0"
    movb $0x8C, gate70 + 5
    user
    lcall $0x73, $0
    done
    case "5.8.4 GP jump through a call gate to an inner ring"
    movb $0xEC, gate70 + 5
    user
    ljmp $0x73, $0
    done
    case "6.15 NP call gate"
    movb $0x6C, gate70 + 5
    user
    lcall $0x73, $0
    done
    case "5.8.4 GP call gate to data"
    movb $0xEC, gate70 + 5
    movw $0x10, gate70 + 2
    user
    lcall $0x73, $0
    done
    case "5.8.4 NP call gate to code that is not present"
    movw $0x50, gate70 + 2
    user
    lcall $0x73, $0
    done

    case "20.2 v86, int through a ring 0 gate"
    movl $v86code, %esi
    movl $0x70000, %edi
    movl $64, %ecx
    rep movsb
    setgate 0x40, virtual, 0xEE
    v86 0x23002, 0
    done
    case "20.2 v86, int with IOPL 0"
    v86 0x20002, 0
    done
    case "20.2 v86, cli with IOPL 0"
    v86 0x20002, 2
    done
    case "20.2 v86, hlt"
    v86 0x23002, 4
    done
    case "20.2 v86, mov to cr0"
    v86 0x23002, 6
    done
    case "20.2 v86, divide error"
    setgate 0, virtual
    v86 0x23002, 10
    done
    usualgate 0
    case "20.2 v86, pushf shows IOPL, not VM"
    v86 0x23002, 14
    done
    case "20.2 v86, int3 with IOPL 0 and a gate of dpl 3"
    setgate 3, virtual, 0xEE
    v86 0x20002, 18
    done
    case "20.2 GP v86, int to a conforming handler"
    setgate 0x40, (stubs + 0x40 * 16), 0xEE, 0x38
    v86 0x23002, 0
    done
    case "20.2 v86, iret within"
    setgate 0x40, virtual, 0xEE
    v86 0x23002, 20
    done
    jmp after
gates:                                  # eax: where the two call gates lead
    movw %ax, gate70
    movw %ax, gate78
    movw $8, gate70 + 2
    movw $8, gate78 + 2
    movw $0xEC00, gate70 + 4
    movw $0xEC02, gate78 + 4
    shrl $16, %eax
    movw %ax, gate70 + 6
    movw %ax, gate78 + 6
    ret
gated:
    movl %esp, %ebp
    movw $0x10, %ax
    movw %ax, %ds
    pushfl
    popl %ebx
    say " i"
    movl (%ebp), %eax
    subl at, %eax
    number %eax, 8
    say " c"
    number 4(%ebp), 4
    say " stack"
    number 8(%ebp), 8
    say " "
    number 12(%ebp), 8
    say " "
    number 16(%ebp), 8
    say " "
    number 20(%ebp), 8
    say " s"
    number %ebp, 8
    say " f"
    number %ebx, 8
    jmp resume0
returned:
    lretl $8
virtual:
    movl %esp, %ebp
    movl %ds, %ebx
    movl %fs, %ecx
    movw $0x10, %ax
    movw %ax, %ds
    say " ds"
    number %ebx, 4
    say " fs"
    number %ecx, 4
    say " frame"
    xorl %edi, %edi
1:  say " "
    number (%ebp), 8
    addl $4, %ebp
    incl %edi
    cmpl $9, %edi
    jb 1b
    pushfl
    popl %ebx
    say " f"
    number %ebx, 8
    jmp resume0
short_idtr:
    .word 0x8F * 8 + 7
    .long IDT
.code16
v86code:
    int $0x40                           # 0
    cli                                 # 2
    nop
    hlt                                 # 4
    nop
    movl %eax, %cr0                     # 6
    nop
    xorb %cl, %cl                       # 10
    divb %cl
    pushf                               # 14
    popw %ax
    int $0x40
    int3                                # 18
    nop
    pushf                               # 20
    pushw %cs
    pushw $26
    iretw
    nop
    int $0x40                           # 26
.code32
after:
"""
)
