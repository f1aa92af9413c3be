# SPDX-License-Identifier: GPL-2.0-or-later
"""What the images of events begin with: GDT, IDT, TSS, a handler that says what it finds, and macros.

An image is a list of cases. `case` names one, `try` marks the instruction that is to cause the event, `done` ends it.
A case prints one line: its name, then for every event

    vVV eERROR cCS iEIP fEFLAGS s[oSS:ESP] [aCR2]

EIP relative to `try`, `s` the address of the EIP slot in the frame, `o` the outer stack where the ring changed, `e----`
where the vector has no error code. The handler then drops everything and goes to `done`, unless `returns N` had asked
for N events to be answered with IRET. The names say which section of the SDM, volume 3A, a case is about.
"""

from __future__ import annotations

import re

import image_console as console

WITH_ERROR_CODE = frozenset({8, 10, 11, 12, 13, 14, 17})

ADDRESSES = """
.set STACK, 0x180000                    # ring 0, in use
.set STACK0, 0x184000                   # ring 0, in the TSS
.set STACK3, 0x188000                   # ring 3
.set STACKT, 0x18C000                   # of the task behind a task gate
.set IDT, 0x190000
.set SPACE, 0x192000                    # scratch
.set NOERROR, 0x7777
"""

MACROS = """
.macro number value, digits             # any operand
    pushl %eax
    pushl %ecx
    movl \\value, %eax
    movl $\\digits, %ecx
    call digits
    popl %ecx
    popl %eax
.endm
.macro case name
    say "\\n\\name:"
    movl $9f, resume
    movl $0, returning
.endm
.macro returns count
    movl $\\count, returning
.endm
.macro try flags=2
    movl $8f, at
    pushl $\\flags
    popfl
8:
.endm
.macro done
    jmp resume0
9:
.endm
.macro user flags=2, ss=0x23, esp=STACK3, cs=0x1B
    movl $7f, at
    movw $0x23, %ax
    movw %ax, %ds
    movw %ax, %es
    pushl $\\ss
    pushl $\\esp
    pushl $\\flags
    pushl $\\cs
    pushl $7f
    iretl
7:
.endm
.macro setgate vector, handler, access=0x8E, selector=8
    pushl %eax
    movl $\\handler, %eax
    movw %ax, IDT + \\vector * 8
    movw $\\selector, IDT + \\vector * 8 + 2
    movw $\\access << 8, IDT + \\vector * 8 + 4
    shrl $16, %eax
    movw %ax, IDT + \\vector * 8 + 6
    popl %eax
.endm
.macro usualgate vector                 # as it was at the beginning
    setgate \\vector, (stubs + \\vector * 16)
.endm
.macro descriptor base, limit, access, flags
    .quad (\\limit & 0xFFFF) | (\\base & 0xFFFFFF) << 16 | \\access << 40 | (\\limit >> 16) << 48 | \\flags << 52
.endm
"""

LIBRARY = """
start:
    movl $STACK, %esp
    cld
    call uart
    outport 0x21, 0xFF
    outport 0xA1, 0xFF
    lgdt gdtr
    ljmp $8, $1f
1:  movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw %ax, %fs
    movw %ax, %gs
    movl $0x11, %eax                    # PE, ET
    movl %eax, %cr0
    call tables
    lidt idtr
    movw $0x28, %ax
    ltr %ax
    jmp main
tables:
    movl $stubs, %eax
    movl $IDT, %edi
    movl $256, %ecx
1:  movw %ax, (%edi)
    movw $8, 2(%edi)
    movw $0x8E00, 4(%edi)
    movl %eax, %edx
    shrl $16, %edx
    movw %dx, 6(%edi)
    addl $16, %eax
    addl $8, %edi
    loop 1b
    setgate 0x81, resume0, 0xEE
    ret
finish:
    say "\\nend\\n"
    call drain
    outport 0x64, 0xFE
1:  hlt
    jmp 1b

.p2align 4
stubs:
STUBS.p2align 4
bare13:                                 # vector 13 without an error code
    pushl $NOERROR
    pushl $13
common:                                 # 32: vector, error, eip, cs, eflags, outer esp, outer ss
    pushal
    cld
    movl %esp, %ebp
    movl %cs, %eax
    testl $3, %eax
    jnz 1f
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
1:  say " v"
    number 32(%ebp), 2
    say " e"
    cmpl $NOERROR, 36(%ebp)
    jne 1f
    say "----"
    jmp 2f
1:  number 36(%ebp), 4
2:  say " c"
    number 44(%ebp), 4
    say " i"
    movl 40(%ebp), %eax
    subl at, %eax
    number %eax, 8
    say " f"
    number 48(%ebp), 8
    say " s"
    leal 40(%ebp), %eax
    number %eax, 8
    movl %cs, %eax
    xorl 44(%ebp), %eax
    testl $0x20000, 48(%ebp)
    jnz 1f
    testl $3, %eax
    jz 2f
1:  say " o"
    number 56(%ebp), 4
    say ":"
    number 52(%ebp), 8
2:  cmpl $14, 32(%ebp)
    jne 1f
    say " a"
    movl %cr2, %eax
    number %eax, 8
1:  cmpl $0, returning
    je 1f
    decl returning
    popal
    addl $8, %esp
    iretl
1:  movl %cs, %eax
    testl $3, %eax
    jz resume0
    int $0x81
resume0:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $STACK, %esp
    movw %ax, %fs
    movw %ax, %gs
    pushl $2
    popfl
    movl usual_cr0, %eax
    movl %eax, %cr0
    ljmp $8, $1f
1:  jmpl *resume

.p2align 3
usual_cr0: .long 0x11
resume: .long 0
at: .long 0
returning: .long 0
.p2align 3
gdt:
    .quad 0
    descriptor 0, 0xFFFFF, 0x9B, 0xC            # 08 code
    descriptor 0, 0xFFFFF, 0x93, 0xC            # 10 data
    descriptor 0, 0xFFFFF, 0xFB, 0xC            # 18 code, ring 3
    descriptor 0, 0xFFFFF, 0xF3, 0xC            # 20 data, ring 3
    .word 103, SPACE & 0xFFFF, 0x8900 | SPACE >> 16, 0   # 28 TSS
    .word 103, (SPACE + 0x100) & 0xFFFF, 0x8900 | SPACE >> 16, 0  # 30 TSS of the task behind the task gate
    descriptor 0, 0xFFFFF, 0x9F, 0xC            # 38 code, conforming
    descriptor BASE, 0xFFFF, 0x9B, 0            # 40 code, 16 bits
    descriptor 0, 0xFFFFF, 0x13, 0xC            # 48 data, not present
    descriptor 0, 0xFFFFF, 0x1B, 0xC            # 50 code, not present
    descriptor BASE, 0xFFF, 0x93, 0x4           # 58 data, 4 KiB
    descriptor 0, 0xFFFFF, 0x91, 0xC            # 60 data, read only
    descriptor 0, 0xFFFFF, 0x99, 0xC            # 68 code, execute only
gate70: .quad 0                                 # 70 call gates, filled in by `gates`
gate78: .quad 0
    .word 103, (SPACE + 0x100) & 0xFFFF, 0x0900 | SPACE >> 16, 0  # 80 TSS, not present
    .word 7, SPACE & 0xFFFF, 0x8200 | SPACE >> 16, 0     # 88 LDT
    descriptor 0, 0xFF, 0x97, 0xC               # 90 data, expand down, above 1 MiB
    descriptor 0, 0xFFFFF, 0xB3, 0xC            # 98 data, ring 1
    descriptor 0x180000, 0xFFFF, 0x93, 0        # a0 data, 16 bits
    descriptor 0, 0xFFFFF, 0xBB, 0xC            # a8 code, ring 1
    .word 102, SPACE & 0xFFFF, 0x8900 | SPACE >> 16, 0   # b0 TSS, a byte too short
    descriptor BASE, 0xFFF, 0x9B, 0x4           # b8 code, 4 KiB
    descriptor 0x180000, 0x3, 0x93, 0x4         # c0 data, 4 bytes
gdt_end:
gdtr: .word gdt_end - gdt - 1
    .long gdt
idtr: .word 2047
    .long IDT
"""

TSS = """
    movl $SPACE, %edi
    movl $0x80, %ecx
    xorl %eax, %eax
    rep stosl
    movl $STACK0, SPACE + 4
    movl $0x10, SPACE + 8
    movw $0xFFFF, SPACE + 102           # no I/O permission bitmap
"""


def _stubs() -> str:
    """Sixteen bytes for each vector."""
    return "".join(
        f".p2align 4\n{'' if vector in WITH_ERROR_CODE else 'pushl $NOERROR'}\npushl ${vector}\njmp common\n"
        for vector in range(256)
    )


def image_text(body: str) -> str:
    """A whole image: `main` is the body."""
    library = LIBRARY.replace("STUBS", _stubs())
    beginning = f"{console.HEADER}{ADDRESSES}{console.MACROS}{MACROS}"
    return f"{beginning}{library}{console.CODE}main:\n{TSS}{body}\n    jmp finish\n"


def case_names(body: str) -> list[str]:
    """The cases of a body, in order."""
    return re.findall(r'^\s*case "([^"]*)"', body, re.MULTILINE)
