# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a guest does, virtual time moves on: every round retires code, delivers an event or moves the clock."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board.clock import Standstill
from kdumpsim.board.machine import Machine, MachineConfig, StopReason
from kdumpsim.compiler.assembler import assemble
from kdumpsim.cpu import Cpu, Exit
from properties import examples

from test_machine import BASE, EPILOGUE, PROLOGUE, SPIN, machine, quiet  # isort: skip

ROOM = 192
END_NS = 400_000
IN_A_ROW = 4  # rounds or slices that do nothing but find out why

# Interrupt vectors 0 to 63 go to `handler`; the second CPU is started in `code`, too, in real mode.
FRAME = f"""
main:
    xor %ecx, %ecx
1:  mov $handler, %edx
    call set_gate
    inc %ecx
    cmp $64, %ecx
    jne 1b
    movl $0x1FF, 0xFEE000F0
    movl $0xC4500, 0xFEE00300
    movl $0xC4608, 0xFEE00300
    jmp code
.align 16
handler: .space 16, 0x90
    iret
.align 16
code: .space {ROOM}, 0x90
    jmp code
"""
HANDLERS = {
    "return": "", "end of interrupt": "50b020e620c70500b0e0fe0000000058", "ud2": "0f0b", "halt": "f4", "sti": "fb",
    "skip": "83042402", "loop": "ebfe", "cli on return": "83642408008164240800000000", "nested": "cd20",
}  # fmt: skip
PIECES = {
    "nop": "90", "sti": "fb", "cli": "fa", "hlt": "f4", "sti; hlt": "fbf4", "cli; hlt": "faf4", "ud2": "0f0b",
    "int 20": "cd20", "int3": "cc", "pushf; popf": "9c9d", "trap flag": "9c810c24000100009d", "IF by popf":
    "9c810c24000200009d", "mov ss": "8ed0", "mov ss; sti": "8ed0fb", "sti; cli": "fbfa", "sti; mov ss": "fb8ed0",
    "back": "ebf0", "here": "ebfe", "pause back": "f390ebfc", "rdtsc": "0f31", "cpuid": "0fa2", "rdmsr":
    "b9100000000f32", "apic base": "b91b0000000f32", "rdmsr rdmsr": "0f320f32", "read pit": "e440", "rep ins":
    "66ba4000b9ff0000006c", "rep stos": "b90010000031ffbf00800700f3aa", "unmask": "30c0e621", "mask": "b0ffe621",
    "eoi": "b020e620", "fast pit": "b034e643b002e640b000e640", "one-shot pit": "b030e643b005e640b000e640",
    "self ipi": "c7050003e0fe30400400", "self nmi": "c7050003e0fe00440400", "ipi to all": "c7050003e0fe31400800",
    "init others": "c7050003e0fe00450c00", "start others": "c7050003e0fe08460c00", "apic timer":
    "c7052003e0fe34000200c7058003e0fe10000000", "one-shot apic timer": "c7052003e0fe35000000c7058003e0fe40000000",
    "apic eoi": "c705b000e0fe00000000", "tpr": "c7058000e0fe40000000", "apic off": "c705f000e0ff00000000",
    "extint": "c7055003e0fe00070000", "no idt": "0f011d00000500", "iret": "cf", "divide": "31c9f7f1",
    "cr0": "0f20c00f22c0", "push": "50", "jump to rom": "ea00fe00f00800",
}  # fmt: skip


@cache
def image() -> tuple[bytes, int, int]:
    code = assemble(PROLOGUE + FRAME + EPILOGUE, BASE)
    handler = code.index(b"\x90" * 16 + b"\xcf")
    return code, handler, code.index(b"\x90" * ROOM)


def guest(cpus: int, handler: bytes, code: bytes) -> Machine:
    whole, handler_at, code_at = image()
    patched = bytearray(whole)
    patched[handler_at : handler_at + len(handler)] = handler
    patched[code_at : code_at + min(len(code), ROOM)] = code[:ROOM]
    computer = Machine(MachineConfig(memory=2 << 20, cpus=cpus))
    computer.load_multiboot(bytes(patched), "")
    computer.memory.view[0x8000 : 0x8000 + ROOM] = patched[code_at : code_at + ROOM]
    return computer


class Watchman:
    """Counts the rounds without progress, and the slices, one after the other."""

    def __init__(self, computer: Machine) -> None:
        self.computer, self.still, self.before = computer, 0, (-1, [0])
        computer.poll = self.round
        for cpu in computer.cpus:
            self.follow(cpu)

    def round(self) -> None:
        now = (self.computer.clock.base, [cpu.retired for cpu in self.computer.cpus])
        self.still = self.still + 1 if now == self.before else 0
        self.before = now
        assert self.still < IN_A_ROW, now

    def follow(self, cpu: Cpu) -> None:
        inner, idle = cpu.run, 0

        def run(*args: Any, **named: Any) -> Exit:
            nonlocal idle
            before = cpu.retired
            result = inner(*args, **named)
            idle = 0 if cpu.retired != before or result is not Exit.LIMIT else idle + 1
            assert idle < IN_A_ROW, cpu.registers()
            return result

        cpu.run = run  # type: ignore[method-assign]


pieces = st.lists(
    st.one_of(
        st.sampled_from(sorted(PIECES)).map(lambda name: bytes.fromhex(PIECES[name])), st.binary(min_size=1, max_size=4)
    ),
    min_size=1,
    max_size=40,
).map(b"".join)


@examples(100)
@given(st.integers(1, 2), st.sampled_from(sorted(HANDLERS)), pieces)
def test_time_moves_on_whatever_a_guest_does(cpus: int, handler: str, code: bytes) -> None:
    computer = guest(cpus, bytes.fromhex(HANDLERS[handler]), code)
    Watchman(computer)
    reason = computer.run(until=END_NS)
    assert reason in (StopReason.UNTIL, StopReason.RESET)
    if reason is StopReason.UNTIL:
        assert computer.clock.base >= END_NS


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_cpu_that_does_nothing_is_no_outcome_of_the_guest(cpus: int) -> None:
    computer = quiet(machine(SPIN, cpus=cpus))
    computer.cpus[0].run = lambda limit, **until: Exit.LIMIT  # type: ignore[method-assign]
    with pytest.raises(Standstill, match="stands still at"):
        computer.run(until=END_NS)


def test_an_engine_that_does_nothing_is_a_standstill_too() -> None:
    computer = quiet(machine(SPIN, cpus=1))
    computer.cpus[0]._engine.start = lambda: 1  # type: ignore[method-assign]
    with pytest.raises(Standstill):
        computer.run(until=END_NS)
