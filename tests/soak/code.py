# SPDX-License-Identifier: GPL-2.0-or-later
"""Random code on one to eight CPUs: real mode, flat, paged, with and without
handlers; some of it talks to devices.

CPU 0 wakes the others by INIT and SIPI, which begin in the same noise in real mode.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from kdumpsim.board.machine import Machine
from soak.devices import WATCHED_PORTS
from soak.driver import Kind
from soak.isolation import Counts
from soak.pcs import BASE, PAGES, assembled, check_same, kernel, pc, put_handlers, run

RUN_NS = 4_000_000
NOISE, NOISE_HIGH = 0x8000, BASE + 0x1000
"""Where the noise is for CPUs that begin in real mode, and for CPU 0."""
STACK = 0x7000
IDT, IDTR, HANDLER = 0x40000, 0x3F000, 0x3F100
DIRECTORY, TABLE, APIC_TABLE = 0x50000, 0x51000, 0x52000
USER, NO_CACHE = 0x27, 0x7B
"""Flags of page table entries: present, writable, user, accessed; and those of a page of registers, dirty besides."""
BEGIN = """
    mov $0x7000, %esp
    cld
    movl $0x1FF, 0xFEE000F0
    movl $0xC4500, 0xFEE00300
    movl $0xC4608, 0xFEE00300
    movl $0xC4608, 0xFEE00300
"""
PAGING_ON = """
    mov $0x50000, %eax
    mov %eax, %cr3
    mov %cr0, %eax
    or $0x80010000, %eax
    mov %eax, %cr0
"""
JUMP = """
    mov $0x101000, %eax
    jmp *%eax
"""
ANSWER = """
    push %eax
    mov $0x20, %al
    out %al, $0x20
    pop %eax
    iret
"""
"""What every vector leads to, with `handlers`."""


@dataclass(frozen=True)
class Noise:
    """Code and what it runs on."""

    cpus: int
    seed: int
    handlers: bool
    paging: bool
    interrupts: bool
    code: bytes


class Code(Kind[Noise]):
    """Random code."""

    name = "code"
    share = 0.1
    cpu_s = 60

    def prepare(self) -> None:
        for handlers in (False, True):  # the assembler is a process, and each check would start its own
            for paging in (False, True):
                for interrupts in (False, True):
                    start(Noise(1, 0, handlers, paging, interrupts, b"\xf4"))

    def draw(self, dice: random.Random, number: int) -> Noise:
        pieces = [_piece(dice) for _ in range(dice.choice([3, 10, 40, 120]))]
        return Noise(
            cpus=dice.choice([1, 1, 2, 2, 4, 8]),
            seed=dice.randrange(1000),
            handlers=dice.random() < 0.6,
            paging=dice.random() < 0.4,
            interrupts=dice.random() < 0.5,
            code=b"".join(pieces),
        )

    def check(self, case: Noise, repeat: bool) -> Counts:
        whole = start(case)
        run(whole, RUN_NS)
        if repeat:
            again = start(case)
            run(again, RUN_NS)
            check_same(whole.snapshot(), again.snapshot(), "the same code leads to another machine")
        retired = sum(cpu.retired for cpu in whole.cpus)
        return {"code bytes": retired, "virtual ms": whole.clock.now // 10**6}

    def smaller(self, case: Noise) -> Iterator[Noise]:
        size = len(case.code)
        for cut in (size // 2, size * 3 // 4, size - 8, size - 1):
            if 0 < cut < size:
                yield replace(case, code=case.code[:cut])
        for length in (64, 16, 4, 1):
            for at in range(0, size, length):
                blank = b"\x90" * len(case.code[at : at + length])
                if case.code[at : at + length] != blank:
                    yield replace(case, code=case.code[:at] + blank + case.code[at + length :])
        for other in (
            replace(case, cpus=1), replace(case, cpus=2), replace(case, handlers=False), replace(case, paging=False),
            replace(case, interrupts=False), replace(case, seed=0),
        ):  # fmt: skip
            if other != case and other.cpus <= case.cpus:
                yield other

    def text(self, case: Noise) -> str:
        flags = "".join(
            letter for letter, on in (("h", case.handlers), ("p", case.paging), ("i", case.interrupts)) if on
        )
        return f"{case.cpus} {case.seed} {flags or '-'} {case.code.hex()}"

    def parse(self, text: str) -> Noise:
        cpus, seed, flags, code = text.split()
        return Noise(int(cpus), int(seed), "h" in flags, "p" in flags, "i" in flags, bytes.fromhex(code))


def start(case: Noise) -> Machine:
    """The machine about to run it."""
    machine = pc(case.cpus, case.seed)
    begin = BEGIN
    if case.handlers:
        begin += f"lidt {IDTR:#x}\n"
    if case.paging:
        begin += PAGING_ON
    if case.interrupts:
        begin += "sti\n"
    machine.load_multiboot(kernel(assembled(begin + JUMP, BASE + 32)), "")
    put = machine.memory.dma_write
    put(NOISE, case.code)
    put(NOISE_HIGH, case.code)
    put_handlers(machine, IDT, IDTR, HANDLER, assembled(ANSWER, HANDLER))
    put(DIRECTORY, struct.pack("<I", TABLE | USER))
    put(DIRECTORY + 4 * 0x3FB, struct.pack("<I", APIC_TABLE | USER))
    put(DIRECTORY + 4 * 0x3FF, struct.pack("<I", DIRECTORY | USER))
    put(TABLE, struct.pack("<1024I", *(page << 12 | USER for page in range(1024))))
    for page in PAGES:
        put(APIC_TABLE + (page >> 10 & 0xFFC), struct.pack("<I", page | NO_CACHE))
    return machine


def _piece(dice: random.Random) -> bytes:
    """Noise seldom meets a device, so code that talks to one comes in between."""
    kind = dice.randrange(12)
    if kind < 5:
        return dice.randbytes(dice.randrange(1, 24))
    if kind < 8:
        first, last = dice.choice(WATCHED_PORTS)
        port, value = dice.randrange(first, last + 1), dice.getrandbits(32)
        access = dice.choice(
            [b"\xee", b"\xef", b"\x66\xef", b"\xec", b"\xed", b"\x66\xed", b"\x6c", b"\x6e", b"\xf3\x6d"]
        )
        return b"\xba" + struct.pack("<I", port) + b"\xb8" + struct.pack("<I", value) + access
    if kind < 10:
        address = dice.choice(PAGES) + dice.choice([dice.randrange(0x40) * 16, dice.randrange(4096)])
        write = b"\xc7\x05" + struct.pack("<II", address, dice.getrandbits(dice.choice([4, 12, 20, 32])))
        return write if dice.random() < 0.7 else b"\xa1" + struct.pack("<I", address)
    msr = dice.choice([0x10, 0x1B, 0xC1, 0x186, 0x174, 0x175, 0x176, dice.getrandbits(12)])
    return dice.choice(
        [
            b"\xfb", b"\xf4", b"\xfb\xf4", b"\xfa", b"\xcd\x80", b"\xcd\x02", b"\x0f\x0b", b"\xcf", b"\x0f\x31",
            b"\x0f\xa2", b"\x0f\x22\xc0", b"\x0f\x20\xc0", b"\x0f\x01\x18", b"\x0f\x01\x10", b"\x0f\x00\xd8", b"\x9d",
            b"\x6a\x00\x9d", b"\x68\x00\x01\x00\x00\x9d", b"\x0f\x34", b"\x0f\xc7\x0f", b"\x0f\x01\xe0", b"\xf1",
            b"\xcc", b"\xb9" + struct.pack("<I", msr) + b"\x0f\x30", b"\xb9" + struct.pack("<I", msr) + b"\x0f\x32",
            b"\xf3\xa4", b"\xf3\xab", b"\xea" + dice.randbytes(6),
            b"\xff" + dice.randbytes(2), b"\x8e" + dice.randbytes(1),
        ]
    )  # fmt: skip
