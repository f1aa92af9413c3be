# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine that is stopped, or put back into the state it has, goes on as the very run there would have been."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest

from kdumpsim.board.machine import Machine, MachineConfig, StopReason
from kdumpsim.compiler.assembler import assemble

from test_machine import BASE, EPILOGUE, PROLOGUE, word  # isort: skip

CHAIN = 0x70000  # what every handler mixes what it was told and what it interrupted into; one per CPU
STOPS = 1000
END_NS = 60_000_000

# Two CPUs with a PIT, local APIC timers, IPIs, exceptions, MSRs, port I/O, critical sections, halts and a shared word.
BUSY = """
main:
    mov $0x08, %ecx
    mov $on_pit, %edx
    call set_gate
    mov $0x30, %ecx
    mov $on_event, %edx
    call set_gate
    mov $0x06, %ecx
    mov $on_invalid, %edx
    call set_gate
    mov $0x40, %ecx
    mov $on_apic, %edx
    call set_gate
    mov $0x41, %ecx
    mov $on_apic, %edx
    call set_gate
    mov $0x34, %al
    out %al, $0x43
    mov $700, %ax                      # every 587 us
    out %al, $0x40
    mov %ah, %al
    out %al, $0x40
    mov $trampoline, %esi
    mov $0x8000, %edi
    mov $trampoline_end - trampoline, %ecx
    rep movsb
    movl $0x1FF, 0xFEE000F0
    movl $0xC4500, 0xFEE00300
    movl $0xC4608, 0xFEE00300
    mov $93, %ebx
    jmp work
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
    mov $41, %ebx
work:                                  # %ebx: the local APIC timer's period, us
    imul $100, %ebx, %eax
    movl $0x20041, 0xFEE00320
    movl $0xB, 0xFEE003E0
    mov %eax, 0xFEE00380
    sti
1:  mov $9, %ecx
2:  lock incl 0x70010
    in $0x40, %al
    add %al, 0x70014
    loop 2b
    cli
    mov 0x70010, %eax
    rdtsc
    xor %eax, 0x70018
    xor %edx, %edx
    out %al, $0x80
    sti
    int $0x30
    ud2
    .rept 60                           # a long block, in whose middle a round may end
    addl $0x12345678, 0x70020
    .endr
    bswap %eax
    mov $0x10, %ecx
    rdmsr
    xor %eax, 0x7001C
    testl $0x40, 0x70010
    jz 1b
    hlt
    jmp 1b
on_invalid:
    addl $2, (%esp)
on_event:
    push %eax
    call mix
    pop %eax
    iret
on_pit:
    push %eax
    mov $0x20, %al
    out %al, $0x20
    call mix
    movl $0x1000000, 0xFEE00310
    movl $0x4040, 0xFEE00300           # tell CPU 1
    pop %eax
    iret
on_apic:
    push %eax
    movl $0, 0xFEE000B0
    call mix
    pop %eax
    iret
mix:                                   # the interrupted EIP and the time into this CPU's chain
    push %ecx
    push %edx
    push %ebx
    mov 0xFEE00020, %ecx
    shr $24, %ecx
    rdtsc
    mov CHAIN(,%ecx,4), %ebx
    rol $5, %ebx
    xor %eax, %ebx
    add 20(%esp), %ebx
    mov %ebx, CHAIN(,%ecx,4)
    pop %ebx
    pop %edx
    pop %ecx
    ret
""".replace("CHAIN", hex(CHAIN))


def busy(seed: int) -> Machine:
    computer = Machine(MachineConfig(memory=2 << 20, cpus=2, seed=seed))
    computer.load_multiboot(assemble(PROLOGUE + BUSY + EPILOGUE, BASE), "")
    return computer


def everything(computer: Machine) -> dict[str, Any]:
    """All that tells one run from another."""
    cpus = {cpu.name: (cpu.registers(), cpu.retired) for cpu in computer.cpus}
    return computer.snapshot() | cpus  # the engine's own context holds what is no part of the PC


class Stops:
    """Watches on instructions of the guest, and an ear at port 0x80; each may ask for a stop."""

    def __init__(self, computer: Machine, wanted: Callable[[int], bool]) -> None:
        self.computer, self.wanted = computer, wanted
        self.passed_by: list[tuple[str, int]] = []  # what, and when
        code = bytes(computer.memory.view[BASE : BASE + 0x800])
        for name, pattern, offset in (
            ("lock", "f0ff05", 0), ("cli", "faa1", 0), ("sti", "fbcd30", 0), ("after sti", "fbcd30", 1),
            ("hlt", "f4e9", 0), ("iret", "58cf", 1), ("mix", "515253", 0), ("long", "0fc8", 0),
        ):  # fmt: skip
            at = BASE + code.index(bytes.fromhex(pattern)) + offset
            computer.watch(at, lambda cpu, name=name: self.passed(name))  # type: ignore[misc]
        computer.devices.ports.writers[0x80] = lambda port, size, value: self.passed("out")

    def passed(self, name: str) -> None:
        self.passed_by.append((name, self.computer.clock.now))
        if self.wanted(len(self.passed_by)):
            self.computer.request_stop()


def never(number: int) -> bool:
    return False


def at_stops(computer: Machine, chosen: set[int], act: Callable[[Machine], None]) -> Stops:
    """Run to the end, and act at each stop."""
    stops = Stops(computer, chosen.__contains__)
    while computer.run(until=END_NS) is StopReason.STOPPED:
        act(computer)
    return stops


def again(computer: Machine) -> None:
    """Back to the state it has, in place, by way of plain data."""
    computer.restore(pickle.loads(pickle.dumps(computer.snapshot())))


@pytest.fixture(scope="module")
def plain() -> tuple[Stops, dict[str, Any]]:
    """The run without a stop; one with watches is the same."""
    unwatched, watched = busy(1), busy(1)
    unwatched.run(until=END_NS)
    stops = Stops(watched, never)
    watched.run(until=END_NS)
    assert everything(watched) == everything(unwatched)
    kinds = {"lock", "cli", "sti", "after sti", "hlt", "iret", "mix", "long", "out"}
    assert {name for name, _ in stops.passed_by} == kinds
    assert all(word(watched, CHAIN + 4 * cpu) for cpu in range(2))
    return stops, everything(watched)


@pytest.mark.parametrize("act", [lambda computer: None, again], ids=["go on", "restore"])
def test_a_stop_at_a_thousand_places_does_not_change_the_run(
    plain: tuple[Stops, dict[str, Any]], act: Callable[[Machine], None]
) -> None:
    stops, expected = plain
    chosen = set(random.Random(8).sample(range(1, len(stops.passed_by) + 1), STOPS))
    computer = busy(1)
    assert at_stops(computer, chosen, act).passed_by == stops.passed_by
    assert everything(computer) == expected


class Pause(Exception):
    """What the host's `poll` ends a run with."""


def test_restoring_between_rounds_does_not_change_the_run(plain: tuple[Stops, dict[str, Any]]) -> None:
    """There the host is asked before the events that are due have fired."""
    rounds = random.Random(9)
    computer = busy(1)
    due = 0

    def poll() -> None:
        if not rounds.randrange(5):
            raise Pause

    computer.poll = poll
    while computer.clock.base < END_NS:
        try:
            computer.run(until=END_NS)
        except Pause:
            deadline = computer.clock.next_deadline()
            due += deadline is not None and deadline <= computer.clock.base
            again(computer)
    assert due > 50
    assert everything(computer) == plain[1]
