# SPDX-License-Identifier: GPL-2.0-or-later
"""Page faults, also while an event is being delivered; 32-bit paging with 4 KiB and 4 MiB pages."""

CPUS = 1
TIMED = False
DIFFERS = {
    # QEMU calls the page of a reserved bit not present, which 4.7 rules out.
    "4.7 PF reserved bit of a 4 MiB page": "v0e e0009 c0008 i00000000 f00000002 s0017fff4 a01400000",
}
BODY = """
.set DIRECTORY, 0x200000
.set TABLE, 0x201000                    # maps the first 4 MiB
.set OTHER, 0x202000                    # another directory
.set PAGE, 0x300000                     # a page to play with; the one behind it is not present
.set ENTRY, TABLE + 0x300 * 4
.macro rights value                     # of PAGE: 1 present, 2 writable, 4 user, ...
    movl $(PAGE | \\value), ENTRY
    invlpg PAGE
.endm
    movl $DIRECTORY, %edi
    movl $0xC00, %ecx
    xorl %eax, %eax
    rep stosl
    movl $TABLE | 7, DIRECTORY
    movl $TABLE | 7, OTHER
    movl $TABLE | 5, DIRECTORY + 4      # 4 MiB: the same pages, read only
    movl $TABLE | 3, DIRECTORY + 8      # 8 MiB: the same pages, supervisor only
    movl $0x87, DIRECTORY + 12          # 12 MiB: a 4 MiB page at 0
    movl $0x85, DIRECTORY + 16          # 16 MiB: read only
    movl $0x200087, DIRECTORY + 20      # 20 MiB: a reserved bit
    movl $TABLE, %edi
    movl $7, %eax
1:  stosl
    addl $0x1000, %eax
    cmpl $TABLE + 0x1000, %edi
    jb 1b
    movl $0, ENTRY + 4
    movl $DIRECTORY, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x10, %eax
    movl %eax, %cr4
    movl $0x80000011, %eax
    movl %eax, usual_cr0
    movl %eax, %cr0

    case "4.7 PF read, no directory entry"
    try
    movl 0x7C00123, %eax
    done
    case "4.7 PF write, no directory entry"
    try
    movl %eax, 0x7C00123
    done
    case "4.7 PF read, not present"
    rights 0
    try
    movl PAGE + 4, %eax
    done
    case "4.7 PF write, not present"
    try
    movl %eax, PAGE + 4
    done
    case "4.7 PF read-modify-write, not present"
    try
    addl %eax, PAGE + 4
    done
    case "4.7 PF read across into a page that is not present"
    rights 7
    try
    movl PAGE + 0xFFE, %eax
    done
    case "4.7 PF write across leaves the first page alone"
    movl $0x11223344, PAGE + 0xFFC
    movl $8f, at
8:  movl %eax, PAGE + 0xFFE
    done
    say " left "
    number PAGE + 0xFFC, 8
    case "4.7 PF fetch, not present"
    rights 0
    movl $8f, at
8:  movl $PAGE, %eax
    jmp *%eax
    done
    case "4.7 PF fetch across"
    rights 7
    movb $0xB8, PAGE + 0xFFE            # movl $..., %eax begins here
    movl $PAGE + 0xFFE, %eax
    movl %eax, at
    jmp *%eax
    done
    case "4.6 CR0.WP clear, supervisor writes a read only page"
    rights 5
    try
    movl %eax, PAGE
    done
    case "4.6 PF CR0.WP set, supervisor does not"
    movl $0x80010011, %eax
    movl %eax, %cr0
    try
    movl %eax, PAGE
    done
    case "4.6 PF CR0.WP set, read only by its directory entry"
    movl $0x80010011, %eax
    movl %eax, %cr0
    rights 7
    try
    movl %eax, PAGE + 0x400000
    done
    case "4.6 PF CR0.WP set, read only 4 MiB page"
    movl $0x80010011, %eax
    movl %eax, %cr0
    try
    movl %eax, 0x1000000 + PAGE
    done
    case "4.6 PF ring 3 writes a read only page, WP clear"
    rights 5
    user
    movl %eax, PAGE
    done
    case "4.6 PF ring 3 reads a supervisor page"
    rights 3
    user
    movl PAGE, %eax
    done
    case "4.6 PF ring 3 writes a supervisor page"
    user
    movl %eax, PAGE
    done
    case "4.6 PF ring 3 fetches from a supervisor page"
    user
    movl $PAGE, %eax
    movl %eax, at
    jmp *%eax
    done
    case "4.6 PF ring 3 reads what is not present"
    rights 0
    user
    movl PAGE, %eax
    done
    case "4.6 PF ring 3, supervisor by its directory entry"
    user
    movl 0x800000 + PAGE + 0x2000, %eax
    done
    case "4.6 ring 3 reads a user 4 MiB page"
    rights 7
    user
    movl 0xC00000 + PAGE, %eax
    int $0x81
    done
    case "4.7 PF reserved bit of a 4 MiB page"
    try
    movl 0x1400000, %eax
    done
    case "4.8 accessed and dirty bits"
    rights 7
    movl PAGE, %eax
    say " "
    number ENTRY, 8
    movl %eax, PAGE
    say " "
    number ENTRY, 8
    done
    case "4.7 PF restarts the instruction"
    rights 0
    setgate 14, mends, 0x8E
    movl $0x11223344, %eax
    movl $8f, at
8:  pushl PAGE
    popl %ebx
    rights 7
    cmpl PAGE, %ebx
    jne 1f
    say " same"
1:  done
    usualgate 14
    case "4.7 PF rep movs stops in the middle"
    movl $SPACE, %esi
    movl $PAGE + 0xFF4, %edi
    movl $8, %ecx
    movl $8f, at
    setgate 14, counts
8:  rep movsl
    done
    usualgate 14
    case "4.10.4.1 stale translation after invlpg is gone"
    rights 7
    movl PAGE, %eax
    rights 0
    try
    movl PAGE, %eax
    done
    case "4.10.4.1 stale translation after mov to cr3 is gone"
    rights 7
    movl PAGE, %eax
    movl $0, ENTRY
    movl %cr3, %eax
    movl %eax, %cr3
    try
    movl PAGE, %eax
    done

    case "6.15 DF stack not present"
    call task
    setgate 8, 0, 0x85, 0x30
    movl $PAGE + 0x1800, %esp
    movl $8f, at
8:  pushl %eax
    done
    case "6.15 DF push of the frame runs off its page"
    call task
    rights 7
    movl $PAGE + 0x2004, %esp
    movl $8f, at
8:  ud2
    done
    case "6.15 DF inner stack not present, page fault"
    call task
    movl $PAGE + 0x1800, SPACE + 4
    user
    movl 0x7C00123, %eax
    done
    case "6.15 PF inner stack not present, but another for the fault"
    call task
    setgate 14, 0, 0x85, 0x30
    movl $PAGE + 0x1800, SPACE + 4
    user
    ud2
    done
    case "6.15 PF inner stack not present, int"
    call task
    movl $PAGE + 0x1800, SPACE + 4
    setgate 0x50, stubs, 0xEE
    user
    int $0x50
    done
    case "6.15 PF inner stack read only with WP"
    call task
    rights 5
    movl $PAGE + 0x800, SPACE + 4
    movl $0x80010011, %eax
    movl %eax, %cr0
    user
    int $0x50
    done
    usualgate 14
    case "6.15 PF IDT not present"
    call task
    setgate 14, 0, 0x85, 0x30
    rights 7
    movl $IDT, %esi
    movl $PAGE + 0xF00, %edi
    movl $64, %ecx
    rep movsl
    lidt far_idtr
    try
    int $0x40
    done
    lidt idtr
    usualgate 14
    usualgate 8
    case "6.15 PF in a descriptor table"
    movl $gdt, %esi
    movl $PAGE, %edi
    movl $64, %ecx
    rep movsl
    lgdt far_gdtr
    movl $8f, at
    movw $0x1008, %ax
8:  movw %ax, %es
    done
    lgdt gdtr
    case "4.6 delivery in ring 3 reads supervisor tables"
    movl TABLE + (IDT >> 12) * 4, %eax
    andl $~4, TABLE + (IDT >> 12) * 4
    andl $~4, TABLE + (STACK0 - 0x1000 >> 12) * 4
    movl %cr3, %eax
    movl %eax, %cr3
    user
    ud2
    done
    case "7.3 task switch through a gate loads cr3"
    call task
    movl $OTHER, SPACE + 0x11C
    setgate 0x51, 0, 0xE5, 0x30
    try
    int $0x51
    done
    say " cr3 "
    movl %cr3, %eax
    number %eax, 8
    movl $DIRECTORY, %eax
    movl %eax, %cr3
    case "7.3 task's iret loads cr3 back"
    call task
    movl $OTHER, SPACE + 0x11C
    movl $DIRECTORY, SPACE + 0x1C
    movl $nested, SPACE + 0x120
    movl $8f, at
8:  int $0x51
    movl %cr3, %eax
    say " cr3 "
    number %eax, 8
    done
    case "7.3 task's iret, the same cr3"
    call task
    movl $DIRECTORY, SPACE + 0x1C
    movl $nested, SPACE + 0x120
    movl $8f, at
8:  int $0x51
    say " back"
    done
    case "7.3 call of a TSS loads cr3"
    call task
    movl $OTHER, SPACE + 0x11C
    movl $DIRECTORY, SPACE + 0x1C
    movl $8f, at
8:  lcall $0x30, $0
    done
    movl $DIRECTORY, %eax
    movl %eax, %cr3
    case "7.3 jump to a TSS loads cr3"
    call task
    movl $OTHER, SPACE + 0x11C
    movl $DIRECTORY, SPACE + 0x1C
    movl $8f, at
8:  ljmp $0x30, $0
    done
    movl $DIRECTORY, %eax
    movl %eax, %cr3
    jmp after
.p2align 3
far_idtr: .word 2047
    .long PAGE + 0xF00                  # vectors below 0x20 on the page
far_gdtr: .word 0x1FFF
    .long PAGE
mends:
    pushl %eax
    say " mended"
    rights 7
    popl %eax
    addl $4, %esp
    iretl
counts:
    say " e"
    number (%esp), 4
    say " i"
    movl 4(%esp), %eax
    subl at, %eax
    number %eax, 8
    say " ecx"
    number %ecx, 8
    subl $PAGE, %edi
    number %edi, 8
    subl $SPACE, %esi
    number %esi, 8
    jmp resume0
double:
    pushfl
    popl %ebx
    movl %esp, %ebp
    movl $STACK0, SPACE + 4
    say " task s"
    number %ebp, 8
    cmpl $STACKT, %ebp
    je 1f
    say " e"
    number (%ebp), 8
1:  say " c"
    number SPACE + 76, 4
    say " i"
    movl SPACE + 32, %eax
    subl at, %eax
    number %eax, 8
    say " s"
    number SPACE + 80, 4
    say ":"
    number SPACE + 56, 8
    say " a"
    movl %cr2, %eax
    number %eax, 8
    say " cr3 "
    movl %cr3, %eax
    number %eax, 8
    pushl $2
    popfl
    movb $0x89, gdt + 0x28 + 5
    movw $0x28, %ax
    ltr %ax
    jmp resume0
nested:
    say " task cr3 "
    movl %cr3, %eax
    number %eax, 8
    iretl
task:
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
    popal
    ret
after:
"""
