# SPDX-License-Identifier: GPL-2.0-or-later
"""Random bytes as code, in every mode: whatever a guest does, `run` comes back with an Exit, and the same each time."""

from __future__ import annotations

import random
import struct

import pytest
from cpu_box import CODE, STACK, STACK3, UCODE, UDATA, Box

from kdumpsim.cpu import Exit, Registers


def random_box(choose: random.Random, mode: str) -> Box:
    box = Box()
    for vector in range(32):
        if choose.random() < 0.8:
            box.vector(vector, choose.choice([0xE, 0xF, 6, 7, 5]), dpl=choose.choice([0, 3]))
        box.put(0x20000 + vector * 16, b"\xcf")
    box.put(CODE, choose.randbytes(4096))
    box.put(0, choose.randbytes(4096))
    if mode == "real":
        box.cpu.init()
        box.cpu.set_registers(cs=CODE >> 4, eip=0, ss=0, esp=0x8000)
    elif mode == "paged":
        always = {2, 3, 4, 7, 8, CODE >> 12, 0x20}
        entries = [n << 12 | (7 if n in always else choose.choice([7, 7, 7, 3, 1, 0])) for n in range(1024)]
        box.put(0x41000, struct.pack("<1024I", *entries))
        box.put(0x40000, struct.pack("<I", 0x41007))
        box.cpu.set_registers(cr3=0x40000, cr0=0x80010011)
    elif mode == "user":
        box.load_tr()
        box.code(f"pushl ${UDATA}\npushl ${STACK3}\npushl $0x202\npushl ${UCODE}\npushl ${CODE}\niret", 0x6000)
        box.cpu.set_registers(eip=0x6000, esp=STACK)
    box.cpu.set_registers(
        ebx=choose.getrandbits(20), ecx=choose.getrandbits(16), esi=choose.getrandbits(22), ebp=0x9000
    )
    return box


def adventure(seed: int, mode: str) -> tuple[list[Exit], Registers, int, bytes]:
    choose = random.Random(seed)
    box = random_box(choose, mode)
    exits = []
    for _ in range(20):
        exits.append(box.cpu.run(choose.choice([10, 100, 3000])))
        if exits[-1] is Exit.HALT:
            if box.cpu.interruptible():
                box.cpu.interrupt(choose.randrange(32, 256))
            elif not box.cpu.nmi_blocked():
                box.cpu.nmi()
    return exits, box.cpu.registers(), box.cpu.retired, bytes(box.memory)


@pytest.mark.parametrize("mode", ["flat", "real", "paged", "user"])
def test_random_code(mode: str) -> None:
    for seed in range(15):
        assert adventure(seed, mode) == adventure(seed, mode)
