# SPDX-License-Identifier: GPL-2.0-or-later
"""Slices, virtual time, callbacks, watches, stale code, holes, state."""

from __future__ import annotations

import os
import struct

import pytest
from cpu_box import CODE, STACK, Box

from kdumpsim.cpu import Cpu, Exit
from kdumpsim.cpu.cpu import EVENT_BYTES

LOOP = "mov $1000, %ecx\n1: incl %ebx\ndecl %ecx\njnz 1b\nhlt"  # 5 + 1000 * 4 + 1 bytes


def test_retired_counts_code_bytes(box: Box) -> None:
    assert box.run(LOOP, limit=1 << 20) is Exit.HALT
    assert box.cpu.retired == 5 + 4 * 1000 + 1


@pytest.mark.parametrize("step", [1, 7, 100, 4096])
def test_slicing_changes_nothing(box: Box, step: int) -> None:
    box.code(LOOP)
    while box.cpu.run(step) is Exit.LIMIT:
        pass
    assert box.cpu.registers().ebx == 1000
    assert box.cpu.retired == 5 + 4 * 1000 + 1


def test_limit_is_overrun_by_less_than_a_block(box: Box) -> None:
    box.code(LOOP)
    assert box.cpu.run(400) is Exit.LIMIT
    assert 400 <= box.cpu.retired < 410


def test_a_fault_takes_back_what_was_not_run(box: Box) -> None:
    box.vector(14)
    box.vector(6)
    box.run("nop\nnop\nud2\n" + "nop\n" * 50)
    assert box.cpu.retired == 2 + EVENT_BYTES + 1  # two nops, the handler's hlt


def test_callbacks(box: Box) -> None:
    box.bus.answer = 0x12345678
    box.run("mov $0x3f8, %dx\nin %dx, %al\nin $0x40, %eax\nmov $0x1234, %ax\nout %ax, $0x80\n"
            "mov 0xfee00020, %ebx\nmovl $5, 0xfee00300\nhlt")  # fmt: skip
    assert box.bus.log == [
        ("in", 0x3F8, 1), ("in", 0x40, 4), ("out", 0x80, 2, 0x1234), ("read", 0xFEE00020, 4),
        ("write", 0xFEE00300, 4, 5),
    ]  # fmt: skip
    assert box.cpu.registers().ebx == 0x12345678


def test_stop_from_a_callback(box: Box) -> None:
    box.bus.on_out = lambda port, value: box.cpu.stop()
    assert box.run("out %al, $0x80\njmp 1f\n1: inc %ebx\nhlt") is Exit.STOPPED
    assert box.cpu.registers().ebx == 0
    assert box.cpu.run(100) is Exit.HALT


def test_the_rest_of_a_slice_that_was_stopped(box: Box) -> None:
    box.bus.on_out = lambda port, value: box.cpu.stop()
    assert box.run("out %al, $0x80\njmp 1f\n1: inc %ebx\njmp 1b", limit=1000) is Exit.STOPPED
    before = box.cpu.retired
    assert box.cpu.resume() is Exit.LIMIT
    assert before == 4
    assert 1000 <= box.cpu.retired < 1003


def test_stop_before_hlt_in_the_same_block_finds_the_cpu_halted(box: Box) -> None:
    box.bus.on_out = lambda port, value: box.cpu.stop()
    assert box.run("out %al, $0x80\nhlt") is Exit.STOPPED
    assert box.cpu.halted
    assert box.cpu.resume() is Exit.HALT


def test_shorten_from_a_callback(box: Box) -> None:
    box.bus.on_out = lambda port, value: box.cpu.shorten(100)
    assert box.run("out %al, $0x80\n1: inc %ebx\njmp 1b", limit=1 << 30) is Exit.LIMIT
    assert 30 <= box.cpu.registers().ebx <= 40


def test_a_devices_exception_comes_out_of_run(box: Box) -> None:
    def fail(port: int, value: int) -> None:
        raise KeyError("device bug")

    box.bus.on_out = fail
    with pytest.raises(KeyError, match="device bug"):
        box.run("out %al, $0x80\njmp 1f\n1: hlt")
    box.bus.on_out = lambda port, value: None
    assert box.cpu.run(100) is Exit.HALT


def test_registers_from_a_callback(box: Box) -> None:
    seen = []
    box.bus.on_out = lambda port, value: seen.append(box.cpu.registers())
    box.run("mov $7, %ebx\ncmp $7, %ebx\nout %al, $0x80\nhlt")
    assert seen[0].ebx == 7
    assert seen[0].eflags & 0x40
    assert seen[0].cs == 8


def test_holes_read_as_ones_and_lose_writes(box: Box) -> None:
    box.run("movl $5, 0xa0000\nmov 0xa0000, %eax\nmovzwl 0xc0001234, %ebx\nmovzbl 0xffffffff, %ecx\nhlt")
    registers = box.cpu.registers()
    assert (registers.eax, registers.ebx, registers.ecx) == (0xFFFFFFFF, 0xFFFF, 0xFF)


def test_rom_reads_and_loses_writes(box: Box) -> None:
    box.put(0xF0010, b"\x78\x56\x34\x12")
    box.run("movl $5, 0xf0010\nmov 0xf0010, %eax\nmovl $6, 0xf0010\nmov 0xf0010, %ebx\nhlt")
    assert (box.cpu.registers().eax, box.cpu.registers().ebx) == (0x12345678, 0x12345678)
    assert box.memory[0xF0010:0xF0014] == b"\x78\x56\x34\x12"


def test_rom_runs(box: Box) -> None:
    box.put(0xF0000, b"\x43\xf4")
    box.run("mov $0xf0000, %eax\njmp *%eax")
    assert box.cpu.registers().ebx == 1


@pytest.mark.parametrize("target", [0xA0000, 0xD0000000, 0xFFFFFFF0])
def test_jump_into_a_hole_is_an_invalid_opcode(box: Box, target: int) -> None:
    """FF FF is no instruction."""
    handler = box.vector(6)
    assert box.run(f"mov ${target:#x}, %eax\njmp *%eax") is Exit.HALT
    assert box.cpu.registers().eip == handler + 1
    assert box.words(STACK - 12, 1) == [target]


@pytest.mark.parametrize("setup", ["cr3=0xd0000000", "gdt", "stack"])
def test_wild_tables_shut_down_quietly(box: Box, setup: str) -> None:
    if setup == "gdt":
        box.cpu.set_registers(gdtr=(0xD0000000, 0xFFFF), idtr=(0xD0000000, 0xFFFF))
        box.code("mov $0x18, %ax\nmov %ax, %ds\nint $3")
    elif setup == "stack":
        box.cpu.set_registers(esp=0xD0000000, ss=0x40)
        box.code("int $3")
    else:
        box.code("mov $0xd0000000, %eax\nmov %eax, %cr3\nmov $0x80000011, %eax\nmov %eax, %cr0\nnop\nint $3")
    assert box.cpu.run(10_000) in (Exit.SHUTDOWN, Exit.HALT, Exit.LIMIT)


def test_watch_sees_each_crossing(box: Box) -> None:
    box.code(LOOP)
    seen: list[int] = []
    box.cpu.watch(CODE + 6, lambda cpu: seen.append(cpu.registers().ebx))  # decl, in mid-block
    assert box.cpu.run(1 << 20) is Exit.HALT
    assert seen == list(range(1, 1001))
    box.cpu.halted = False
    box.cpu.unwatch(CODE + 6)
    box.cpu.set_registers(eip=CODE)
    box.cpu.run(1 << 20)
    assert len(seen) == 1000


def test_watch_on_code_already_translated(box: Box) -> None:
    box.code(LOOP)
    box.cpu.run(1000)
    seen: list[int] = []
    box.cpu.watch(CODE + 6, lambda cpu: seen.append(cpu.registers().ecx))
    box.cpu.run(1 << 20)
    assert seen[-1] == 1


def test_a_watch_set_in_a_watch_sees_what_comes_in_the_same_slice(box: Box) -> None:
    """Where the function that has just been called will come back to, for instance, which has been run before."""
    box.code("movl $3, %ecx\n1: call 2f\nnop\nloop 1b\nhlt\n2: incl %ebx\nret")
    box.cpu.run(1000)
    seen: list[int] = []

    def called(cpu: Cpu) -> None:
        if cpu.registers().ebx == 1:  # the second call
            (back,) = struct.unpack("<I", cpu.read_linear(cpu.registers().esp, 4) or bytes(4))
            cpu.watch(back, lambda cpu: seen.append(cpu.registers().ebx))

    box.cpu.watch(CODE + 14, called)
    retired = box.cpu.retired
    box.cpu.set_registers(eip=CODE, ebx=0)
    box.cpu.halted = False
    assert box.cpu.run(1000) is Exit.HALT
    assert seen == [2, 3]
    assert box.cpu.retired == 2 * retired


def test_stop_in_a_watch_is_before_the_instruction(box: Box) -> None:
    box.code("mov $1, %ebx\nmov $2, %ecx\nmov $3, %edx\nhlt")
    box.cpu.watch(CODE + 10, Cpu.stop)
    assert box.cpu.run(1000) is Exit.STOPPED
    registers = box.cpu.registers()
    assert (registers.eip, registers.ebx, registers.ecx, registers.edx & 0xFF) == (CODE + 10, 1, 2, 0x33)
    assert box.cpu.retired == 10
    assert box.cpu.run(1000) is Exit.HALT
    assert box.cpu.retired == 16
    assert box.cpu.registers().edx == 3


def test_observation_does_not_change_time(box: Box) -> None:
    box.code(LOOP)
    box.cpu.watch(CODE + 6, Cpu.stop)
    stops = 0
    while box.cpu.run(1 << 20) is Exit.STOPPED:
        stops += 1
    assert stops == 1000
    assert box.cpu.retired == 5 + 4 * 1000 + 1


def test_two_watches_on_one_address(box: Box) -> None:
    box.code("nop\nhlt")
    seen: list[str] = []
    box.cpu.watch(CODE, lambda cpu: seen.append("a"))
    box.cpu.watch(CODE, lambda cpu: seen.append("b"))
    box.run()
    assert seen == ["a", "b"]


def test_own_stores_into_code_are_seen(box: Box) -> None:
    box.run("movb $0x43, 2f\njmp 1f\n1: nop\n2: nop\nhlt".replace("2f", f"{CODE + 10:#x}"))
    assert box.cpu.registers().ebx == 1


@pytest.mark.parametrize("paging", [False, True])
def test_invalidate_forgets_translations(box: Box, paging: bool) -> None:
    if paging:
        box.put(0x40000, struct.pack("<2I", 0x83, 0x83) + bytes(4088))
        box.cpu.set_registers(cr3=0x40000, cr4=0x10, cr0=0x80000011, eip=CODE + 0x400000)
    box.code("mov $1, %ebx\nhlt")
    box.run()
    box.put(CODE + 1, b"\x02")
    box.cpu.invalidate(CODE + 1, CODE + 2)
    box.cpu.halted = False
    box.cpu.set_registers(eip=CODE + (0x400000 if paging else 0), cr2=0x77)
    box.run()
    assert box.cpu.registers().ebx == 2
    assert box.cpu.registers().cr2 == 0x77


@pytest.mark.parametrize("between", ["cpuid\njmp 1f\n1:", "jmp 1f\n1:"], ids=["cpuid", "jump"])
def test_code_that_a_device_writes_within_a_slice(box: Box, between: str) -> None:
    """DMA at a port write: what is stored is what runs, after CPUID and after a jump alike."""

    def transfer(port: int, value: int) -> None:
        box.put(0x50001, b"\x02")
        box.cpu.invalidate(0x50001, 0x50002)  # as the Machine does for every store of a device

    box.code("mov $1, %ebx\nret", 0x50000)
    box.bus.on_out = transfer
    assert (
        box.run(f"mov $0x50000, %esi\ncall *%esi\nmov %ebx, %edi\nout %al, $0x80\n{between} call *%esi\nhlt")
        is Exit.HALT
    )
    assert (box.cpu.registers().edi, box.cpu.registers().ebx) == (1, 2)


def test_cpuid_drops_no_translation(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.code("mov $1000, %esi\n1: xor %eax, %eax\ncpuid\ndec %esi\njnz 1b\nhlt")
    box.run(limit=1)
    engine = box.cpu._engine
    monkeypatch.setattr(engine, "flush_code", lambda: pytest.fail("everything translated was dropped"))
    starts = []
    monkeypatch.setattr(engine, "_emulate", lambda emulate=engine._emulate: starts.append(1) or emulate())
    assert box.run(limit=1 << 20) is Exit.HALT
    assert len(starts) < 5


def test_cpuid_announces_what_is_modelled(box: Box) -> None:
    box.run("mov $1, %eax\ncpuid\nhlt")
    registers = box.cpu.registers()
    assert registers.eax >> 8 & 0xF == 6
    assert registers.ebx >> 24 == 0
    assert registers.edx & 1 << 9  # APIC
    assert registers.edx & 1 << 3  # PSE
    assert not registers.edx & (1 << 25 | 1 << 26)  # no SSE
    assert registers.ecx == 0


def test_rdtsc_is_virtual_time(box: Box) -> None:
    box.bus.now = 0x1_2345_6789
    box.run("rdtsc\nhlt")
    assert (box.cpu.registers().eax, box.cpu.registers().edx) == (0x23456789, 1)


def test_state_moves_to_another_cpu(box: Box) -> None:
    box.code(LOOP)
    box.cpu.run(1000)
    state, memory = box.cpu.state(), bytes(box.memory)
    box.cpu.run(1 << 20)
    other = Box()
    other.memory[:] = memory
    other.cpu.restore(state)
    assert other.cpu.run(1 << 20) is Exit.HALT
    assert (other.cpu.registers(), other.cpu.retired) == (box.cpu.registers(), box.cpu.retired)
    assert other.cpu.state() == box.cpu.state()


def test_fork_in_mid_run(box: Box) -> None:
    box.code(LOOP)
    box.cpu.run(1000)
    child = os.fork()
    if child == 0:
        ok = box.cpu.run(1 << 20) is Exit.HALT and box.cpu.registers().ebx == 1000
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert box.cpu.registers().ebx < 1000
    assert box.cpu.run(1 << 20) is Exit.HALT
    assert box.cpu.registers().ebx == 1000


def test_a_handler_that_faults_at_once_does_not_stop_time(box: Box) -> None:
    box.vector(6)
    box.put(0x20060, b"\x0f\x0b")  # ud2
    assert box.run("ud2", limit=1000) is Exit.LIMIT
    assert box.cpu.retired >= 1000
