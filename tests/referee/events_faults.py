# SPDX-License-Identifier: GPL-2.0-or-later
"""Exceptions of single instructions in ring 0, without paging."""

CPUS = 1
TIMED = False
DIFFERS: dict[str, str] = {}
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
    case "6.15 UD int1, to TCG"
    try
    .byte 0xF1
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
"""
