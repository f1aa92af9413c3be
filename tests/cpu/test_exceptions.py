# SPDX-License-Identifier: GPL-2.0-or-later
"""Exceptions and interrupts in protected mode, item by item from SDM vol. 3A chapter 6."""

from __future__ import annotations

import struct

import pytest
from cpu_box import (
    CODE,
    CODE16,
    DATA16,
    GDT,
    GDT_TABLE,
    IDT,
    KCODE,
    KDATA,
    STACK,
    STACK3,
    TSS,
    TSS_DF,
    TSS_DF_SEL,
    TSS_SEL,
    UCODE,
    UDATA,
    Box,
    gate,
)

from kdumpsim.cpu import Exit

RF = 1 << 16
IF = 1 << 9
TF = 1 << 8
NT = 1 << 14


def frame(box: Box, words: int, at: int = STACK) -> list[int]:
    return box.words(at - 4 * words, words)


def at_handler(box: Box, handler: int) -> bool:
    return box.cpu.halted and box.cpu.registers().eip == handler + 1


def test_int_n_pushes_the_next_instruction(box: Box) -> None:
    handler = box.vector(0x30)
    assert box.run("nop\nint $0x30") is Exit.HALT
    assert at_handler(box, handler)
    assert frame(box, 3) == [CODE + 3, KCODE, 2]
    assert box.cpu.registers().esp == STACK - 12


@pytest.mark.parametrize(("kind", "cleared"), [(0xE, True), (0xF, False)])
def test_only_an_interrupt_gate_clears_if(box: Box, kind: int, cleared: bool) -> None:
    box.vector(0x30, kind)
    box.run("sti\nnop\nint $0x30")
    assert bool(box.cpu.registers().eflags & IF) is not cleared
    assert frame(box, 3)[2] & IF


def test_16_bit_gates_push_words(box: Box) -> None:
    handler = 0x7000
    box.put(handler, b"\xf4")
    box.put(IDT + 0x30 * 8, gate(KCODE, handler, 6))
    box.run("int $0x30")
    assert at_handler(box, handler)
    assert box.cpu.registers().esp == STACK - 6
    assert struct.unpack_from("<3H", box.memory, STACK - 6) == ((CODE + 2) & 0xFFFF, KCODE, 2)


@pytest.mark.parametrize(
    ("text", "vector", "offset"),
    [
        ("nop\nud2", 6, 1),
        ("xor %edx, %edx\nmov $1, %eax\nxor %ecx, %ecx\ndiv %ecx", 0, 9),
        ("movl $0x10010, %edi\nmovl $10, %eax\nbound %eax, (%edi)", 5, 10),
    ],
)
def test_faults_push_the_faulting_instruction_and_rf(box: Box, text: str, vector: int, offset: int) -> None:
    handler = box.vector(vector)
    box.run(text)
    assert at_handler(box, handler)
    eip, cs, eflags = frame(box, 3)
    assert (eip, cs, eflags & RF) == (CODE + offset, KCODE, RF)


@pytest.mark.parametrize(("text", "vector"), [("int3", 3), ("mov $0x7fffffff, %eax\ninc %eax\ninto", 4)])
def test_int3_and_into_are_traps(box: Box, text: str, vector: int) -> None:
    handler = box.vector(vector)
    box.run(text + "\nmark: nop")
    assert at_handler(box, handler)
    assert frame(box, 3)[0] == CODE + (1 if vector == 3 else 7)
    assert not frame(box, 3)[2] & RF


def test_into_without_overflow_goes_on(box: Box) -> None:
    assert box.run("xor %eax, %eax\ninto\nhlt") is Exit.HALT
    assert box.cpu.registers().eip == CODE + 4


def test_flags_survive_an_exception_precisely(box: Box) -> None:
    box.vector(6)
    box.run("std\nmov $0xffffffff, %eax\nadd $1, %eax\nud2")  # CF, ZF, PF, AF, DF
    assert frame(box, 3)[2] & ~RF == 0x2 | 0x1 | 0x4 | 0x10 | 0x40 | 0x400


def test_selector_error_code(box: Box) -> None:
    handler = box.vector(13)
    box.run("mov $0x1234, %ax\nmov %ax, %ds")
    assert at_handler(box, handler)
    assert frame(box, 4)[:2] == [0x1234 & 0xFFFC, CODE + 4]


def test_iret_returns_past_an_int(box: Box) -> None:
    box.vector(0x30)
    box.put(0x20300, b"\x43\xcf")  # inc %ebx; iret
    assert box.run("mov $5, %ecx\n1: int $0x30\nloop 1b\nhlt") is Exit.HALT
    registers = box.cpu.registers()
    assert (registers.ebx, registers.esp) == (5, STACK)


def enter_user(box: Box, text: str) -> None:
    """IRET to ring 3 at CODE + 0x1000, then run."""
    box.load_tr()
    box.code(text, CODE + 0x1000)
    box.run(
        f"pushl ${UDATA}\npushl ${STACK3}\npushl $0x3202\npushl ${UCODE}\npushl ${CODE + 0x1000}\n"
        f"mov ${UDATA}, %ax\nmov %ax, %ds\nmov %ax, %es\niret"
    )


def test_system_call_from_ring_3_switches_stacks(box: Box) -> None:
    handler = box.vector(0x80, dpl=3)
    enter_user(box, "int $0x80")
    assert at_handler(box, handler)
    assert frame(box, 5) == [CODE + 0x1002, UCODE, 0x3202, STACK3, UDATA]
    registers = box.cpu.registers()
    assert (registers.cs, registers.ss, registers.esp) == (KCODE, KDATA, STACK - 20)
    assert box.cpu.cpl() == 0


def test_return_to_ring_3_and_back(box: Box) -> None:
    box.vector(0x80, dpl=3)
    box.put(0x20800, b"\x43\xcf")
    box.vector(0x81, dpl=3)
    enter_user(box, "mov $3, %ecx\n1: int $0x80\nloop 1b\nint $0x81")
    assert box.cpu.registers().ebx == 3
    assert frame(box, 5)[3] == STACK3


def test_int_to_a_ring_0_gate_from_ring_3_is_gp(box: Box) -> None:
    box.vector(0x40)
    handler = box.vector(13)
    enter_user(box, "nop\nint $0x40")
    assert at_handler(box, handler)
    assert frame(box, 6)[:3] == [0x40 * 8 | 2, CODE + 0x1001, UCODE]


@pytest.mark.parametrize("text", ["hlt", "cli", "mov %eax, %cr0", "lidt (0)", "mov %cr3, %eax"])
def test_privileged_instructions_fault_in_ring_3(box: Box, text: str) -> None:
    handler = box.vector(13)
    box.load_tr()
    box.code(text, CODE + 0x1000)
    box.run(f"pushl ${UDATA}\npushl ${STACK3}\npushl $2\npushl ${UCODE}\npushl ${CODE + 0x1000}\niret")
    assert at_handler(box, handler)
    assert frame(box, 6)[:3] == [0, CODE + 0x1000, UCODE]


@pytest.mark.parametrize("text", ["in $0x60, %al", "mov $0x12345678, %eax\nout %eax, $0x60"])
def test_port_io_in_ring_3_obeys_iopl(box: Box, text: str) -> None:
    handler = box.vector(13)
    box.vector(0x80, dpl=3)
    box.load_tr()
    box.code(text + "\ninc %ebx\nint $0x80", CODE + 0x1000)
    enter = f"pushl ${UDATA}\npushl ${STACK3}\npushl $FLAGS\npushl ${UCODE}\npushl ${CODE + 0x1000}\niret"
    box.run(enter.replace("FLAGS", "0x43"))
    assert at_handler(box, handler)
    assert box.bus.log == []
    assert frame(box, 6) == [0, CODE + 0x1000 + (5 if "out" in text else 0), UCODE, 0x10043, STACK3, UDATA]
    assert box.cpu.registers().ebx == 0
    box.cpu.halted = False
    box.cpu.set_registers(eip=CODE, cs=KCODE, ss=KDATA, esp=STACK)
    box.run(enter.replace("FLAGS", "0x3002"))
    assert len(box.bus.log) == 1
    assert box.cpu.registers().ebx == 1


@pytest.mark.parametrize(
    ("port", "size", "allowed"), [(0x62, 1, True), (0x61, 1, False), (0x61, 2, False), (0x62, 2, True)]
)
def test_port_io_in_ring_3_obeys_the_permission_bitmap(box: Box, port: int, size: int, allowed: bool) -> None:
    handler = box.vector(13)
    box.vector(0x80, dpl=3)
    bitmap = bytearray(b"\xff" * 64)
    bitmap[0x60 // 8] = 0xF3  # 0x62 and 0x63
    box.put(TSS + 0x68, bytes(bitmap))
    box.put(GDT + TSS_SEL, struct.pack("<H", 0x68 + 63))
    box.load_tr()
    box.code(f"in ${port}, %{'al' if size == 1 else 'ax'}\nint $0x80".replace("%ax", "%ax"), CODE + 0x1000)
    box.run(f"pushl ${UDATA}\npushl ${STACK3}\npushl $2\npushl ${UCODE}\npushl ${CODE + 0x1000}\niret")
    assert at_handler(box, handler) is not allowed
    assert bool(box.bus.log) is allowed


def test_gate_not_present(box: Box) -> None:
    box.vector(0x30, present=False)
    handler = box.vector(11)
    box.run("int $0x30")
    assert at_handler(box, handler)
    assert frame(box, 4)[:2] == [0x30 * 8 | 2, CODE]  # the INT instruction itself


def test_vector_beyond_the_idt(box: Box) -> None:
    handler = box.vector(13)
    box.cpu.set_registers(idtr=(IDT, 0x30 * 8 - 1))
    box.run("int $0x30")
    assert at_handler(box, handler)
    assert frame(box, 4)[0] == 0x30 * 8 | 2


def test_external_event_sets_ext(box: Box) -> None:
    handler = box.vector(13)
    box.cpu.interrupt(0x55)  # no gate
    box.run("nop")
    assert at_handler(box, handler)
    assert frame(box, 4)[0] == 0x55 * 8 | 2 | 1


@pytest.mark.parametrize("selector", [0, KDATA, 0x7F8])
def test_gate_to_a_bad_code_segment(box: Box, selector: int) -> None:
    box.vector(0x30, selector=selector)
    handler = box.vector(13)
    box.run("int $0x30")
    assert at_handler(box, handler)
    assert frame(box, 4)[0] == selector & 0xFFFC


@pytest.mark.parametrize(("ss0", "error"), [(0, 0), (KCODE, KCODE), (UDATA, UDATA & ~3), (0x7F8, 0x7F8)])
def test_bad_ring_0_stack_segment_is_an_invalid_tss(box: Box, ss0: int, error: int) -> None:
    # The #TS handler is a ring 3 segment's gate: it needs no stack switch, so it can report.
    box.vector(0x80, dpl=3)
    handler = box.vector(10, selector=UCODE)
    box.put(TSS + 8, struct.pack("<I", ss0))
    box.load_tr()
    box.code("int $0x80", CODE + 0x1000)
    box.put(handler, b"\xeb\xfe")
    box.run(f"pushl ${UDATA}\npushl ${STACK3}\npushl $0x3202\npushl ${UCODE}\npushl ${CODE + 0x1000}\niret")
    assert box.cpu.registers().eip == handler
    assert frame(box, 4, STACK3)[:2] == [error, CODE + 0x1000]


def test_double_fault_has_error_code_0(box: Box) -> None:
    handler = box.vector(8)
    box.run("nop\nud2")  # no gate for #UD: #GP; benign then contributory gives #GP, whose missing gate gives #DF
    assert at_handler(box, handler)
    assert frame(box, 4)[:3] == [0, CODE + 1, KCODE]


def test_contributory_after_benign_is_delivered_as_itself(box: Box) -> None:
    handler = box.vector(13)
    box.run("ud2")
    assert at_handler(box, handler)
    assert frame(box, 4)[0] == 6 * 8 | 2 | 1


def test_triple_fault_is_shutdown_and_stays(box: Box) -> None:
    assert box.run("ud2") is Exit.SHUTDOWN
    assert box.cpu.shutdown
    assert box.cpu.run(100) is Exit.SHUTDOWN
    assert not box.cpu.interruptible()
    assert box.cpu.nmi_blocked()
    box.cpu.init()
    assert not box.cpu.shutdown


def test_an_observer_is_told_of_what_each_delivery_has_met(box: Box) -> None:
    met: list[tuple[int, int, int | None, int | None]] = []
    box.cpu.on_refused = lambda *refused: met.append(refused)
    assert box.run("ud2") is Exit.SHUTDOWN
    assert met == [(6, 13, None, 13), (13, 13, None, 8), (8, 13, None, None)]  # no gate for any of them


def test_double_fault_through_a_task_gate(box: Box) -> None:
    box.load_tr()
    handler = 0x21000
    box.put(handler, b"\xf4")
    tss = bytearray(104)
    struct.pack_into("<2I", tss, 32, handler, 2)
    struct.pack_into("<8I", tss, 40, 1, 2, 3, 4, 0xA000, 5, 6, 7)
    struct.pack_into("<6I", tss, 72, KDATA, KCODE, KDATA, KDATA, KDATA, KDATA)
    box.put(TSS_DF, bytes(tss))
    box.put(IDT + 8 * 8, gate(TSS_DF_SEL, 0, 5))
    box.run("mov $0xdead0000, %esp\nmov $0x77, %ebx\nud2")  # the stack is in a hole; #UD has no gate: #GP, #DF
    assert at_handler(box, handler)
    registers = box.cpu.registers()
    assert (registers.eax, registers.edi, registers.esp) == (1, 7, 0xA000 - 4)
    assert registers.eflags & NT
    assert registers.cr0 & 8  # TS
    assert box.words(0xA000 - 4, 1) == [0]
    assert box.words(TSS_DF, 1)[0] & 0xFFFF == TSS_SEL
    assert box.words(TSS + 32, 1) == [CODE + 10]  # the old task, as it was at the fault
    assert box.words(TSS + 52, 1) == [0x77]
    assert box.words(TSS + 56, 1) == [0xDEAD0000]
    assert box.memory[GDT + TSS_DF_SEL + 5] == 0x8B  # busy
    assert box.memory[GDT + TSS_SEL + 5] == 0x8B


def test_iret_from_a_nested_task(box: Box) -> None:
    box.load_tr()
    handler = 0x21000
    box.put(handler, b"\x83\xc4\x00\xcf")  # add $0, %esp; iret
    tss = bytearray(104)
    struct.pack_into("<2I", tss, 32, handler, 2)
    struct.pack_into("<8I", tss, 40, 0, 0, 0, 0, 0xA000, 0, 0, 0)
    struct.pack_into("<6I", tss, 72, KDATA, KCODE, KDATA, KDATA, KDATA, KDATA)
    box.put(TSS_DF, bytes(tss))
    box.put(IDT + 0x30 * 8, gate(TSS_DF_SEL, 0, 5))
    assert box.run("mov $0x1234, %ebx\nint $0x30\nmov %ebx, %ecx\nhlt") is Exit.HALT
    assert box.cpu.registers().ecx == 0x1234
    assert box.cpu.registers().esp == STACK
    assert box.memory[GDT + TSS_DF_SEL + 5] == 0x89


def test_16_bit_stack_segment_wraps_in_its_64_kib(box: Box) -> None:
    box.vector(0x30)
    box.run(f"mov ${DATA16}, %ax\nmov %ax, %ss\nmov $0x55558000, %esp\nint $0x30")
    assert box.cpu.registers().esp == 0x55557FF4
    assert frame(box, 3)[1] == KCODE


def test_stack_limit_violation_is_a_stack_fault_then_double(box: Box) -> None:
    box.load_tr()
    box.vector(0x30)
    box.vector(12)
    handler = box.vector(8)
    # A 16-bit stack whose limit is 0xFFF: nothing can be pushed at 0x8000.
    box.put(GDT + DATA16, struct.pack("<Q", 0x0000930000000FFF))
    assert box.run(f"mov ${DATA16}, %ax\nmov %ax, %ss\nmov $0x8000, %esp\nint $0x30") is Exit.SHUTDOWN
    assert not at_handler(box, handler)


def test_single_step_traps_after_each_instruction(box: Box) -> None:
    box.vector(1)
    box.put(0x20010, b"\x43\xcf")  # inc %ebx; iret
    assert box.run("pushl $0x102\npopf\nnop\nnop\npushl $2\npopf\nnop\nhlt") is Exit.HALT
    assert box.cpu.registers().ebx == 4


def test_tf_is_clear_in_the_handler(box: Box) -> None:
    box.vector(1)
    box.run("pushl $0x102\npopf\nnop\nnop")
    assert not box.cpu.registers().eflags & TF
    assert frame(box, 3)[2] & TF
    assert frame(box, 3)[0] == CODE + 7  # popf is 5 bytes in; it sets TF for the instruction after it


def test_gdt_selects_16_bit_code(box: Box) -> None:
    box.vector(0x30)
    box.code(f"ljmp ${CODE16}, $0x7000")
    box.code(".code16\nmov $0x1234, %ax\nint $0x30", 0x7000)
    assert box.cpu.run(1000) is Exit.HALT
    assert frame(box, 3)[:2] == [0x7005, CODE16]
    assert box.cpu.registers().cs == KCODE
    assert len(GDT_TABLE) == 72
