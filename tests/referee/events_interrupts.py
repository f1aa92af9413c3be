# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupts and NMIs of the boot CPU: local APIC, I/O APIC, i8259, PIT, RTC, and the interrupt shadow."""

CPUS = 1
TIMED = True
DIFFERS = {
    # QEMU never sets EXT, and takes fixed messages with the local APIC disabled by software (10.4.7.2).
    "6.13 EXT interrupt through a gate that is not present": "v0b e0203 c0008 i00000002 f00000202 s0017fff4",
    "10.4.7.2 software disabled refuses": "",
}
LAPIC_EOI = "movl $0, 0xFEE000B0"
MASTER_EOI = "movb $0x20, %al\noutb %al, $0x20"
SLAVE_EOI = "movb $0x20, %al\noutb %al, $0xA0\noutb %al, $0x20"


def handler(vector: int, eoi: str) -> str:
    return f"""
irq{vector:02x}:
    pushal
    movl seen, %eax
    cmpl most, %eax                     # what a source that repeats does while it is being stopped is no matter
    jae 1f
    say " v{vector:02x}"
1:
    {eoi}
    incl seen
    popal
    iretl
"""


BODY = (
    """
.macro await count
    sti
6:  pause
    cmpl $\\count, seen
    jb 6b
    cli
.endm
.macro settle
    movl $3000, %ecx
6:  inb $0x80, %al
    loop 6b
.endm
.macro drain                            # a source that repeats has been stopped: let in what it has left behind
    movl $0, most
    sti
    settle
    cli
    movl $3, most
.endm
.macro self vector
    movl $(0x44000 + \\vector), 0xFEE00300
.endm
.macro nmi
    movl $0, 0xFEE00310
    movl $0x4400, 0xFEE00300
.endm
.macro pin2 low
    movl $0x15, 0xFEC00000
    movl $0, 0xFEC00010
    movl $0x14, 0xFEC00000
    movl $\\low, 0xFEC00010
.endm
.macro pit mode, count
    outport 0x43, (0x30 | \\mode << 1)
    outport 0x40, (\\count & 255)
    outport 0x40, (\\count >> 8)
.endm
    outport 0x20, 0x11
    outport 0xA0, 0x11
    outport 0x21, 0x20
    outport 0xA1, 0x28
    outport 0x21, 0x04
    outport 0xA1, 0x02
    outport 0x21, 0x01
    outport 0xA1, 0x01
    outport 0x21, 0xFF
    outport 0xA1, 0xFF
    movl $0x1FF, 0xFEE000F0
    movl $0x10000, 0xFEE00350
    setgate 2, on_nmi
    setgate 0x20, irq20
    setgate 0x28, irq28
    setgate 0x41, irq41
    setgate 0x42, irq42
    setgate 0x61, irq61
    setgate 0x51, nests
    setgate 0x45, level

    case "6.8.1 sti; hlt wakes behind the hlt"
    returns 1
    self 0x40
    movl $8f, at
8:  sti
    hlt
    cli
    movl $0, 0xFEE000B0
    done
    case "6.8.1 sti; nop; cli lets a pending interrupt in"
    movl $0, seen
    self 0x41
    sti
    nop
    cli
    say " after"
    movl $100, %ecx
1:  sti
    nop
    loop 1b
    cli
    done
    case "6.8.1 sti; cli does not"
    movl $0, seen
    self 0x41
    sti
    cli
    say " after"
    await 1
    done
    case "6.8.1 popf sets IF"
    movl $0, seen
    self 0x41
    await 1
    say " after"
    done
    case "6.8.3 mov ss holds a single step off"
    returns 2
    movw $0x10, %ax
    try 0x102
    movw %ax, %ss
    nop
    nop
    pushl $2
    popfl
    done
    case "6.8.3 pop ss holds a single step off"
    returns 2
    pushl $0x10
    try 0x102
    popl %ss
    nop
    nop
    pushl $2
    popfl
    done
    case "6.12.1 frame of an interrupt in ring 3"
    self 0x40
    user 0x202
    jmp 7b
    done
    movl $0, 0xFEE000B0
    case "6.13 EXT interrupt through a gate that is not present"
    setgate 0x40, stubs, 0x0E
    self 0x40
    movl $8f, at
8:  sti
    hlt
    done
    movl $0, 0xFEE000B0
    usualgate 0x40

    case "10.8.3 the higher of two goes first"
    movl $0, seen
    self 0x41
    self 0x61
    await 2
    done
    case "10.8.3 one vector twice is latched once"
    movl $0, seen
    self 0x41
    self 0x41
    await 1
    sti
    settle
    cli
    done
    case "10.8.3.1 TPR holds a class back"
    movl $0, seen
    movl $0x4F, 0xFEE00080
    self 0x41
    sti
    settle
    cli
    say " held"
    number 0xFEE00220, 8
    movl $0x3F, 0xFEE00080
    await 1
    movl $0, 0xFEE00080
    done
    case "10.8.3.1 TPR lets a higher class pass"
    movl $0, seen
    movl $0x50, 0xFEE00080
    self 0x41
    self 0x61
    await 1
    say " lowered"
    movl $0, 0xFEE00080
    await 2
    done
    case "10.8.4 in service, only higher classes nest"
    movl $0, seen
    self 0x51
    await 2
    done
    case "10.4.7.2 software disabled refuses"
    movl $0, seen
    movl $0xFF, 0xFEE000F0
    self 0x41
    movl $0x1FF, 0xFEE000F0
    sti
    settle
    cli
    done
    case "10.5.4 timer, one shot"
    movl $0, seen
    movl $0xB, 0xFEE003E0
    movl $0x41, 0xFEE00320
    movl $10000, 0xFEE00380
    await 1
    say " count "
    number 0xFEE00390, 8
    sti
    settle
    cli
    done
    case "10.5.4 timer, periodic"
    movl $0, seen
    movl $0x20041, 0xFEE00320
    movl $3000000, 0xFEE00380
    await 3
    movl $0, 0xFEE00380
    drain
    done
    case "10.5.4 timer, one shot then another vector"
    movl $0, seen
    movl $0x41, 0xFEE00320
    movl $10000, 0xFEE00380
    await 1
    movl $0x42, 0xFEE00320
    movl $10000, 0xFEE00380
    await 2
    done
    case "10.5.4 timer, masked"
    movl $0, seen
    movl $0x10041, 0xFEE00320
    movl $1000, 0xFEE00380
    sti
    settle
    cli
    say " count "
    number 0xFEE00390, 8
    done

    case "6.7.1 NMI with IF clear"
    movl $0, seen
    movl $1, nested
    movl $0, inner
    nmi
1:  cmpl $1, seen
    jb 1b
    done
    case "6.7.1 NMIs within an NMI handler are latched once"
    setgate 2, on_nmi
    movl $0, seen
    movl $0, nested
    nmi
1:  cmpl $2, seen
    jb 1b
    settle
    done
    case "6.7.1 an iret within the handler ends the blocking"
    movl $0, seen
    movl $0, nested
    movl $1, inner
    nmi
1:  cmpl $2, seen
    jb 1b
    settle
    done
    case "6.7.1 a fixed interrupt may nest in an NMI handler"
    movl $0, seen
    setgate 2, opens
    nmi
1:  cmpl $2, seen
    jb 1b
    done
    case "6.7.1 INT 2 does not block NMIs"
    setgate 2, simply
    movl $0, seen
    int $2
1:  cmpl $2, seen
    jb 1b
    done

    case "PIC IRQ 0 through ExtINT, frame"
    movl $0x700, 0xFEE00350
    setgate 0x20, (stubs + 0x20 * 16)
    returns 1
    pit 2, 1193
    outport 0x21, 0xFE
    movl $8f, at
8:  sti
    hlt
    cli
    outport 0x21, 0xFF
    outport 0x20, 0x20
    done
    case "PIC IRQ 0 periodic"
    setgate 0x20, irq20
    movl $0, seen
    outport 0x21, 0xFE
    await 3
    outport 0x21, 0xFF
    drain
    done
    case "PIC without EOI nothing lower comes"
    setgate 0x20, (stubs + 0x20 * 16)
    returns 1
    outport 0x21, 0xFE
    movl $8f, at
8:  sti
    hlt
    settle
    cli
    outport 0x21, 0xFF
    outport 0x20, 0x20
    done
    case "PIC RTC IRQ 8 periodic"
    movl $0, seen
    outport 0x70, 0x0A
    outport 0x71, 0x26
    outport 0x70, 0x0B
    outport 0x71, 0x42
    outport 0x70, 0x0C
    inb $0x71, %al
    outport 0x21, 0xFB
    outport 0xA1, 0xFE
    await 3
    outport 0x21, 0xFF
    outport 0xA1, 0xFF
    outport 0x70, 0x0B
    outport 0x71, 0x02
    outport 0x70, 0x0C
    inb $0x71, %al
    drain
    done
    movl $0x10000, 0xFEE00350

    case "82093AA edge, PIT on pin 2"
    movl $0, seen
    pin2 0x42
    pit 2, 1193
    await 3
    pin2 0x10042
    drain
    done
    case "82093AA edge, one rise, one interrupt"
    movl $0, seen
    outport 0x43, 0x30                  # the output is low until the count has come and gone
    pin2 0x42
    pit 0, 1000
    await 1
    sti
    settle
    cli
    pin2 0x10042
    done
    case "82093AA level comes again after EOI"
    movl $0, seen
    movl $0x14, 0xFEC00000
    pin2 0x18045
    pit 0, 1000
    pin2 0x8045
    await 3
    done
    case "82093AA remote IRR falls with EOI"
    movl $0x14, 0xFEC00000
    movl 0xFEC00010, %eax
    andl $0x1EFFF, %eax
    say " "
    number %eax, 8
    pit 0, 50000                        # low while the entry is level-triggered, else QEMU keeps the request
    pin2 0x10042
    done
    case "6.7.1 82093AA NMI mode wakes hlt with IF clear"
    setgate 2, (stubs + 2 * 16)
    returns 1
    pit 0, 50000
    pin2 0x400
    movl $8f, at
8:  cli
    hlt
    done
    pin2 0x10042
    jmp after
nests:                                  # vector 51: 42 waits, 61 comes
    say " v51("
    self 0x42
    self 0x61
    sti
1:  cmpl $1, seen
    jb 1b
    settle
    cli
    say ")"
    movl $0, 0xFEE000B0
    iretl
level:
    pushal
    say " v45"
    movl $0x14, 0xFEC00000
    movl 0xFEC00010, %eax
    andl $0x1EFFF, %eax
    say " "
    number %eax, 8
    incl seen
    cmpl $3, seen
    jb 1f
    pin2 0x18045
1:  movl $0, 0xFEE000B0
    popal
    iretl
on_nmi:                                 # the first sends two more, and may do an iret of its own
    pushal
    say " nmi"
    cmpl $0, nested
    jne 1f
    movl $1, nested
    nmi
    nmi
    settle
    say " ("
    cmpl $0, inner
    je 2f
    pushfl
    pushl %cs
    pushl $3f
    iretl
3:  settle
    say " late"
2:  say ")"
1:  incl seen
    popal
    iretl
opens:
    pushal
    say " nmi("
    incl seen
    self 0x41
    await 2
    say ")"
    popal
    iretl
simply:
    pushal
    say " 2"
    incl seen
    cmpl $1, seen
    jne 1f
    nmi
    settle
    say " end"
1:  popal
    iretl
.p2align 2
seen: .long 0
most: .long 3
nested: .long 0
inner: .long 0
"""
    + "".join(handler(vector, LAPIC_EOI) for vector in (0x41, 0x42, 0x61))
    + handler(0x20, MASTER_EOI)
    + handler(0x28, "movb $0x0C, %al\noutb %al, $0x70\ninb $0x71, %al\n" + SLAVE_EOI)
    + "after:\n"
)
