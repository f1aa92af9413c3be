# SPDX-License-Identifier: GPL-2.0-or-later
"""The Machine with small assembled kernels: start-up of a second CPU, IPIs, timers, resets, snapshots."""

from __future__ import annotations

import struct

from kdumpsim.board.machine import Machine, MachineConfig, StopReason
from kdumpsim.compiler.assembler import assemble

BASE = 0x100000

# A flat kernel image: Multiboot header with address fields, code behind it, results in low memory.
PROLOGUE = """
    .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
    .long 0x100000, 0x100000, 0, 0, entry
entry:
    mov $0x80000, %esp
    lgdt gdt_pointer
    lidt idt_pointer
    ljmp $8, $1f
1:  mov $16, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    jmp main
.align 8
gdt: .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
gdt_pointer: .word 23
    .long gdt
idt_pointer: .word 0x7FF
    .long idt
# Turn the i8259s off: everything masked.
mask_pic:
    mov $0xFF, %al
    out %al, $0x21
    out %al, $0xA1
    ret
# A gate: vector in %ecx, handler in %edx.
set_gate:
    mov %edx, %eax
    and $0xFFFF, %eax
    or $0x80000, %eax
    mov %eax, idt(,%ecx,8)
    and $0xFFFF0000, %edx
    or $0x8E00, %edx
    mov %edx, idt+4(,%ecx,8)
    ret
"""
EPILOGUE = "\n.align 16\nidt: .space 2048\n"


def machine(text: str, **config: object) -> Machine:
    computer = Machine(MachineConfig(memory=4 << 20, **config))  # type: ignore[arg-type]
    computer.load_multiboot(assemble(PROLOGUE + text + EPILOGUE, BASE), "")
    return computer


def word(computer: Machine, address: int) -> int:
    return struct.unpack_from("<I", computer.memory.view, address)[0]


SMP = """
main:
    call mask_pic
    mov $0x40, %ecx
    mov $on_ipi, %edx
    call set_gate
    # The trampoline goes to 0x8000: real mode, vector 8.
    mov $trampoline, %esi
    mov $0x8000, %edi
    mov $trampoline_end - trampoline, %ecx
    rep movsb
    movl $0x1FF, 0xFEE000F0
    movl $0xC4500, 0xFEE00300        # INIT to all others
    movl $0xC4608, 0xFEE00300        # SIPI, vector 8
1:  pause
    cmpl $1, 0x70000                 # the AP is up
    jne 1b
    movl $0x1000000, 0xFEE00310
    movl $0x4040, 0xFEE00300         # vector 0x40 to APIC 1
    sti
2:  hlt
    cmpl $1, 0x70008                 # it has answered
    jne 2b
    cli
    movl $1, 0x7000C
3:  hlt
    jmp 3b
on_ipi:
    mov 0xFEE00020, %eax
    shr $24, %eax
    incl 0x70004(,%eax,4)            # 0x70004: CPU 0's count, 0x70008: CPU 1's
    movl $0, 0xFEE000B0
    cmp $0, %eax
    je 1f
    movl $0, 0xFEE00310
    movl $0x4040, 0xFEE00300         # answer CPU 0
1:  iret
trampoline:
    .code16
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdtl 0x8000 + tramp_gdt - trampoline
    mov %cr0, %eax
    or $1, %eax
    mov %eax, %cr0
    ljmpl $8, $ap_main
tramp_gdt: .word 23
    .long gdt
trampoline_end:
    .code32
ap_main:
    mov $16, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x90000, %esp
    lidt idt_pointer
    movl $0x1FF, 0xFEE000F0
    movl $1, 0x70000
    sti
1:  hlt
    jmp 1b
"""


def test_second_cpu_starts_and_exchanges_ipis() -> None:
    computer = machine(SMP, cpus=2)
    computer.pit.reset()
    computer.rtc.reset()
    assert computer.run(until=50_000_000) in (StopReason.IDLE_FOREVER, StopReason.UNTIL)
    assert word(computer, 0x7000C) == 1
    assert (word(computer, 0x70004), word(computer, 0x70008)) == (1, 1)
    assert all(cpu.halted for cpu in computer.cpus)
