# SPDX-License-Identifier: GPL-2.0-or-later
"""Double faults, task gates and task switches, without paging."""

CPUS = 1
TIMED = False
DIFFERS = {
    # QEMU never says that an exception met another (EXT, 6.13), and takes a TSS in the LDT for an invalid one.
    "6.15 NP after a benign fault": "v0b e0033 c0008 i00000000 f00000002 s0017fff4",
    "6.15 TS ss0 null, exception": "task s0018bffc e00000001 link0028 c001b i00000000 f00000002 s0023:00188000"
    " now f00004002 cr19 tr0030 busy8b198b19",
    "7.3 GP task gate into the LDT": "v0d e0034 c0008 i00000000 f00000002 s0017fff4",
}
BODY = """
    case "6.15 NP then delivered as itself, int3"
    setgate 3, stubs, 0x0E
    try
    int3
    done
    usualgate 3
    case "6.15 NP after a benign fault"
    setgate 6, stubs, 0x0E
    try
    ud2
    done
    usualgate 6
    case "6.15 DF contributory after contributory"
    setgate 13, stubs, 0x0E
    movw $0x60, %ax
    try
    movw %ax, %ss
    done
    case "6.15 DF after divide error"
    setgate 0, stubs, 0x0E
    setgate 11, stubs, 0x0E
    xorl %ecx, %ecx
    try
    divl %ecx
    done
    usualgate 0
    usualgate 11
    case "6.15 DF in ring 3"
    user
    cli
    done
    case "6.15 software int is benign"
    setgate 0x40, stubs, 0x0E
    try
    int $0x40
    done
    usualgate 0x40
    case "6.15 DF through a task gate"
    call task
    setgate 8, 0, 0x85, 0x30
    movw $0x60, %ax
    try 0xCD7
    movw %ax, %ss
    done
    case "6.15 DF in ring 3 through a task gate"
    call task
    user 0x3202
    movw $0x60, %ax
    movw %ax, %ss
    done
    usualgate 13
    case "6.15 TS ss0 null"
    setgate 10, 0, 0x85, 0x30
    setgate 12, 0, 0x85, 0x30
    call task
    movl $0, SPACE + 8
    user
    int $0x50
    done
    case "6.15 TS ss0 of ring 3"
    call task
    setgate 0x50, stubs, 0xEE
    movl $0x23, SPACE + 8
    user
    int $0x50
    done
    case "6.15 TS ss0 read only"
    call task
    movl $0x60, SPACE + 8
    user
    int $0x50
    done
    case "6.15 TS ss0 with rpl 1"
    call task
    movl $0x11, SPACE + 8
    user
    int $0x50
    done
    case "6.15 TS ss0 beyond the GDT"
    call task
    movl $0x1000, SPACE + 8
    user
    int $0x50
    done
    case "6.15 SS ss0 not present"
    call task
    movl $0x48, SPACE + 8
    user
    int $0x50
    done
    case "6.15 TS ss0 null, exception"
    call task
    movl $0, SPACE + 8
    user
    ud2
    done
    case "6.15 DF no inner stack for anything but the task"
    usualgate 10
    call task
    movl $0, SPACE + 8
    user
    int $0x50
    done
    usualgate 12
    usualgate 8

    case "7.3 task gate, from ring 0"
    setgate 0x51, 0, 0xE5, 0x30
    call task
    try 0xCD7
    int $0x51
    done
    case "7.3 task gate, from ring 3"
    call task
    user 0xCD7
    int $0x51
    done
    case "7.3 GP task gate of dpl 0 in ring 3"
    setgate 0x52, 0, 0x85, 0x30
    user
    int $0x52
    done
    case "7.3 NP task gate"
    setgate 0x52, 0, 0x65, 0x30
    user
    int $0x52
    done
    case "7.3 GP task gate to a busy task"
    setgate 0x52, 0, 0x85, 0x28
    try
    int $0x52
    done
    case "7.3 NP task gate to a task that is not present"
    setgate 0x52, 0, 0x85, 0x80
    try
    int $0x52
    done
    case "7.3 TS task gate to a TSS that is too short"
    setgate 0x52, 0, 0x85, 0xB0
    try
    int $0x52
    done
    case "7.3 GP task gate to null"
    setgate 0x52, 0, 0x85, 0
    try
    int $0x52
    done
    case "7.3 GP task gate to data"
    setgate 0x52, 0, 0x85, 0x10
    try
    int $0x52
    done
    case "7.3 GP task gate into the LDT"
    setgate 0x52, 0, 0x85, 0x34
    try
    int $0x52
    done
    case "7.4 nested task returns with iret"
    call task
    movl $nested, SPACE + 0x120
    movl $0x11111111, %ebx
    movl $8f, at
    pushl $0xCD7
    popfl
8:  int $0x51
    pushfl
    popl %edx
    movl %esp, %ebp
    say " back f"
    number %edx, 8
    say " b"
    number %ebx, 8
    say " s"
    number %ebp, 8
    say " cr"
    movl %cr0, %eax
    number %eax, 2
    say " tr"
    str %ax
    number %eax, 4
    say " busy"
    number gdt + 0x2C, 4
    number gdt + 0x34, 4
    say " resumes"
    movl SPACE + 0x120, %eax
    subl $after_iret, %eax
    number %eax, 8
    say " f"
    number SPACE + 0x124, 8
    done
    case "7.4 nested task returns to ring 3"
    call task
    movl $nested, SPACE + 0x120
    setgate 0x40, (stubs + 0x40 * 16), 0xEE
    user 0xCD7
    int $0x51
    int $0x40
    done
    case "7.3 call of a TSS and iret"
    call task
    movl $nested, SPACE + 0x120
    movl $8f, at
8:  lcall $0x30, $0
    say " back"
    done
    case "7.3 TS iret with NT and a bad link"
    movw $0x10, SPACE
    movl $8f, at
    pushl $0x4002
    popfl
8:  iretl
    done
    case "7.3 TS iret with NT and a link to a task not busy"
    call task
    movw $0x30, SPACE
    movl $8f, at
    pushl $0x4002
    popfl
8:  iretl
    done
    case "7.3 GP ring 3 calls a TSS of dpl 0"
    user
    lcall $0x30, $0
    done
    case "7.3 the trap frame's NT is cleared"
    setgate 0x53, shows, 0x8F
    pushl $0x4202
    popfl
    int $0x53
    done
    jmp after
shows:
    pushfl
    popl %eax
    say " f"
    number %eax, 8
    say " was "
    number 8(%esp), 8
    jmp resume0
double:                                 # what the task behind the gate finds
    pushfl
    popl %ebx
    movl %esp, %ebp
    movl $0x10, SPACE + 8
    say " task s"
    number %ebp, 8
    cmpl $STACKT, %ebp
    je 1f
    say " e"
    number (%ebp), 8
1:  say " link"
    number SPACE + 0x100, 4
    say " c"
    number SPACE + 76, 4
    say " i"
    movl SPACE + 32, %eax
    subl at, %eax
    number %eax, 8
    say " f"
    number SPACE + 36, 8
    say " s"
    number SPACE + 80, 4
    say ":"
    number SPACE + 56, 8
    say " now f"
    number %ebx, 8
    say " cr"
    movl %cr0, %eax
    number %eax, 2
    say " tr"
    xorl %eax, %eax
    str %ax
    number %eax, 4
    say " busy"
    number gdt + 0x2C, 4
    number gdt + 0x34, 4
    pushl $2                            # to the first task by hand: its stack is not to be trusted
    popfl
    movb $0x89, gdt + 0x28 + 5
    movw $0x28, %ax
    ltr %ax
    jmp resume0
nested:
    pushfl
    popl %ebx
    say " task f"
    number %ebx, 8
    say " link"
    number SPACE + 0x100, 4
    movl $0x22222222, %ebx
    iretl
after_iret:
    jmp double
task:                                   # the TSS of the task behind the gate, fresh
    pushal
    movb $0x89, gdt + 0x30 + 5
    movl $SPACE + 0x100, %edi
    movl $26, %ecx
    xorl %eax, %eax
    rep stosl
    movl %cr3, %eax
    movl %eax, SPACE + 0x11C
    movl $double, SPACE + 0x120
    movl $2, SPACE + 0x124
    movl $STACKT, SPACE + 0x138
    movl $0x10, SPACE + 0x148
    movl $8, SPACE + 0x14C
    movl $0x10, SPACE + 0x150
    movl $0x10, SPACE + 0x154
    movl $0x10, SPACE + 8
    popal
    ret
after:
"""
