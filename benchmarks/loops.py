# SPDX-License-Identifier: GPL-2.0-or-later
"""Small guest loops, timed on the machine and on an engine without any hook."""

from __future__ import annotations

import ctypes
import mmap
import time

import unicorn

from kdumpsim.board.machine import Machine, MachineConfig

LOOP_ORIGIN = 0x100030
PROLOGUE = """
    movl $0x300000, %esp
    movb $0xff, %al
    outb %al, $0x21
    outb %al, $0xa1
    movl $0x200000, %esi
"""
LOOPS = {
    "arithmetic": f"""{PROLOGUE}
    movl $20000000, %ecx
1:  movl (%esi), %eax
    addl %ecx, %eax
    xorl %eax, %ebx
    rorl $3, %ebx
    addl %ebx, %edx
    decl %ecx
    jnz 1b
    cli
    hlt
""",
    "stores": f"""{PROLOGUE}
    movl $5000000, %ecx
1:  movl (%esi), %eax
    addl %ecx, %eax
    xorl %eax, %ebx
    movl %ebx, 4(%esi)
    decl %ecx
    jnz 1b
    cli
    hlt
""",
    "calls": f"""{PROLOGUE}
    movl $2000000, %ecx
1:  pushl %ecx
    call 2f
    popl %ecx
    decl %ecx
    jnz 1b
    cli
    hlt
2:  movl 4(%esp), %eax
    xorl %eax, %ebx
    ret
""",
}


def bare_unicorn(code: bytes) -> float:
    """Seconds for the loop on an engine with no hook at all."""
    memory = mmap.mmap(-1, 4 << 20)
    engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32)
    engine.mem_map_ptr(0, 4 << 20, unicorn.UC_PROT_ALL, ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    memory[LOOP_ORIGIN : LOOP_ORIGIN + len(code)] = code
    engine.ctl_exits_enabled(True)
    engine.ctl_set_exits([])
    start = time.process_time()
    engine.emu_start(LOOP_ORIGIN, 0)
    return time.process_time() - start


def under_machine(code: bytes) -> float:
    """Seconds for the loop on the whole machine, one CPU, its firmware's timer ticking."""
    machine = Machine(MachineConfig(cpus=1, memory=16 << 20))
    machine.load_multiboot(multiboot_image(code), "")
    start = time.process_time()
    machine.run(stop=lambda: machine.cpus[0].halted)
    return time.process_time() - start


def multiboot_image(code: bytes) -> bytes:
    """A flat Multiboot image (a.out kludge) that holds `code` at LOOP_ORIGIN."""
    header_at = LOOP_ORIGIN - 48
    size = 48 + len(code)
    magic, flags = 0x1BADB002, 1 << 16
    fields = (magic, flags, -(magic + flags), header_at, header_at, header_at + size, 0, LOOP_ORIGIN)
    return b"".join((field & 0xFFFFFFFF).to_bytes(4, "little") for field in fields).ljust(48, b"\0") + code
