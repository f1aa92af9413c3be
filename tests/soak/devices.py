# SPDX-License-Identifier: GPL-2.0-or-later
"""Accesses of every width to every port and register, with time moving between them.

Steps: `i PORT SIZE`, `o PORT SIZE VALUE` (ports), `r CPU ADDRESS SIZE`, `w CPU ADDRESS SIZE VALUE` (memory-mapped
registers), `t NS` (time), `k KEY`, `f UART BYTES` (input), `s` (snapshot and restore). Numbers are hexadecimal, but for
time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from kdumpsim.board.machine import Machine
from soak.driver import Kind, without_pieces
from soak.isolation import Broken, Counts
from soak.pcs import BASE, PAGES, assembled, check_same, kernel, pc, put_handlers, run

STEPS = 800
WIDTHS = (1, 1, 2, 4, 4)
WATCHED_PORTS = tuple(
    (first, last)
    for first, last in (
        (0x20, 0x21), (0x40, 0x43), (0x60, 0x64), (0x70, 0x71), (0x92, 0x92), (0xA0, 0xA1), (0x170, 0x177),
        (0x1F0, 0x1F7), (0x2F8, 0x2FF), (0x376, 0x376), (0x3D4, 0x3D5), (0x3F6, 0x3F6), (0x3F8, 0x3FF), (0x4D0, 0x4D1),
        (0xCF8, 0xCFF), (0xC000, 0xC00F), (0xC100, 0xC1FF),
    )
)  # fmt: skip
"""Where a PC's devices are; accesses elsewhere are drawn, too."""
COMMANDS = {
    0x20: (0x11, 0x20, 0x0A, 0x0B, 0x0C, 0x60),
    0x21: (0x20, 0x04, 0x01, 0xFF, 0x00),
    0x43: (0x34, 0x36, 0xB0, 0xE2, 0x30),
    0x60: (0xED, 0xF2, 0xF4, 0xFF, 0xF0),
    0x64: (0x20, 0x60, 0xAA, 0xD0, 0xD1, 0xD4, 0xAD, 0xAE),
    0x70: (0x0A, 0x0B, 0x0C, 0x8B, 0x00, 0x0F),
    0xA0: (0x11, 0x20, 0x0B),
    0x177: (0x20, 0x30, 0xC8, 0xCA, 0xEC, 0xA1),
    0x1F6: (0xA0, 0xE0, 0xB0, 0xF0),
    0x1F7: (0x20, 0x30, 0xC4, 0xC5, 0xC6, 0xC8, 0xCA, 0xEC, 0xE7),
    0x3F6: (0x02, 0x04, 0x06, 0x00),
    0xCF8: (0x80000800, 0x80000904, 0x80000920, 0x80001804, 0x80001810, 0x8000183C),
    0xC000: (0x01, 0x09, 0x08, 0x00),
}
"""Values that mean something there: noise seldom gives a command."""
KEYS = ("a", "enter", "leftalt", "sysrq")
GUESTS = {
    "cli": "cli; 1: hlt; jmp 1b",
    "spin": "1: incl 0x7000; jmp 1b",
    "sti": "mov $0x7000, %esp; lidt 0x3F000; sti; 1: hlt; jmp 1b",
}
IDT, IDTR, HANDLER = 0x40000, 0x3F000, 0x3F100
ANSWER = """
    push %eax
    mov $0x20, %al
    out %al, $0xA0
    out %al, $0x20
    movl $0, 0xFEE000B0
    pop %eax
    iret
"""
"""What the machine runs meanwhile; `sti` takes every interrupt, which ANSWER acknowledges everywhere."""


@dataclass(frozen=True)
class Script:
    """A machine and what is done to it."""

    cpus: int
    guest: str
    seed: int
    steps: tuple[str, ...]


class Devices(Kind[Script]):
    """Accesses to devices."""

    name = "devices"
    share = 0.15
    cpu_s = 60

    def prepare(self) -> None:
        for guest in GUESTS:  # the assembler is a process, and each check would start its own
            play(Script(1, guest, 0, ()))

    def draw(self, dice: random.Random, number: int) -> Script:
        cpus = dice.choice([1, 1, 2, 3, 8])
        focus = dice.choice([None, *WATCHED_PORTS])
        steps = tuple(_step(dice, cpus, focus) for _ in range(STEPS))
        return Script(cpus, dice.choice(list(GUESTS)), dice.randrange(1000), steps)

    def check(self, case: Script, repeat: bool) -> Counts:
        machine = play(case)
        if repeat:
            check_same(machine.snapshot(), play(case).snapshot(), "the same accesses lead to another machine")
            plain = replace(case, steps=tuple(step for step in case.steps if step != "s"))
            check_same(machine.snapshot(), play(plain).snapshot(), "snapshot and restore change the machine")
        done = [step for step in case.steps if step[0] in "iorw"]
        machine.reset()
        return {"accesses": len(done), "virtual ms": machine.clock.now // 10**6}

    def smaller(self, case: Script) -> Iterator[Script]:
        for steps in without_pieces(case.steps):
            yield replace(case, steps=steps)
        for other in (replace(case, cpus=1), replace(case, guest="cli"), replace(case, seed=0)):
            if other != case:
                yield other

    def text(self, case: Script) -> str:
        return f"{case.cpus} {case.guest} {case.seed}; " + "; ".join(case.steps)

    def parse(self, text: str) -> Script:
        head, *steps = (part.strip() for part in text.split(";"))
        cpus, guest, seed = head.split()
        return Script(int(cpus), guest, int(seed), tuple(filter(None, steps)))


def play(case: Script) -> Machine:
    """The machine after all of it."""
    machine = pc(case.cpus, case.seed)
    machine.load_multiboot(kernel(assembled(GUESTS[case.guest], BASE + 32)), "")
    put_handlers(machine, IDT, IDTR, HANDLER, assembled(ANSWER, HANDLER))
    for step in case.steps:
        _do(machine, step)
    return machine


def _do(machine: Machine, step: str) -> None:
    what, *words = step.split()
    if what == "t":
        until = machine.clock.now + int(words[0])
        run(machine, until)
    elif what == "k":
        machine.i8042.press(words[0])
    elif what == "f":
        machine.uarts[int(words[0])].feed(bytes.fromhex(words[1]))
    elif what == "s":
        machine.restore(machine.snapshot())
    else:
        numbers = [int(word, 16) for word in words]
        if what == "o":
            machine.port_out(0, *numbers)
        elif what == "w":
            machine.mmio_write(*numbers)
        elif what == "i":
            _check_value(machine.port_in(0, *numbers), numbers[-1], step)
        else:
            _check_value(machine.mmio_read(*numbers), numbers[-1], step)


def _check_value(value: int, size: int, step: str) -> None:
    if not 0 <= value < 1 << 8 * size:
        raise Broken(f"a read of {size} bytes gives {value:#x}: {step}")


def _step(dice: random.Random, cpus: int, focus: tuple[int, int] | None) -> str:
    kind = dice.random()
    if kind < 0.08:
        return f"t {dice.choice([100, 1000, dice.randrange(100_000), dice.randrange(3_000_000)])}"
    if kind < 0.10:
        return f"k {dice.choice(KEYS)}" if dice.random() < 0.5 else f"f {dice.randrange(2)} {dice.randbytes(3).hex()}"
    if kind < 0.11:
        return "s"
    size = dice.choice(WIDTHS)
    if kind < 0.25:
        page, offset = dice.choice(PAGES), dice.choice([dice.randrange(0x40) * 16, dice.randrange(4096)])
        size = dice.choice([*WIDTHS, 4, 4, 4, 8])
        place = f"{dice.randrange(cpus):x} {page + offset:x} {size}"
        return f"r {place}" if dice.random() < 0.4 else f"w {place} {_value(dice, size):x}"
    first, last = focus if focus is not None and dice.random() < 0.6 else dice.choice(WATCHED_PORTS)
    port = dice.randrange(first, last + 1)
    if dice.random() < 0.03:
        port = dice.randrange(0x10000)
    if dice.random() < 0.4:
        return f"i {port:x} {size}"
    if port in COMMANDS and dice.random() < 0.6:
        value = dice.choice(COMMANDS[port])
        return f"o {port:x} {max(size, (value.bit_length() + 7) // 8) if value else size} {value:x}"
    return f"o {port:x} {size} {_value(dice, size):x}"


def _value(dice: random.Random, size: int) -> int:
    bits = 8 * size
    return dice.choice([dice.getrandbits(bits), dice.getrandbits(bits), 1 << dice.randrange(bits), 0, (1 << bits) - 1])
