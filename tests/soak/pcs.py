# SPDX-License-Identifier: GPL-2.0-or-later
"""Small PCs with every device, for accesses and for code."""

from __future__ import annotations

import functools
import struct
from typing import Any

from kdumpsim.board.disk import Disk
from kdumpsim.board.firmware import CODE_SELECTOR
from kdumpsim.board.machine import Machine, MachineConfig, StopReason
from kdumpsim.board.network import NetworkConfig
from kdumpsim.compiler.assembler import assemble
from soak.isolation import Broken
from soak.scenarios import TimeMoves

BASE = 0x100000
MEMORY = 4 << 20
MOST_RESETS = 8
PAGES = (0xFEE00000, 0xFEC00000)
"""The local APIC and the I/O APIC."""


def pc(cpus: int, seed: int) -> Machine:
    """4 MiB, three disks, a network card with traffic."""
    disks = (Disk.memory(256), None, Disk.memory(64), Disk.memory(64))
    network = NetworkConfig(1_000_000)
    machine = Machine(MachineConfig(cpus=cpus, memory=MEMORY, disks=disks, network=network, seed=seed))
    machine.poll = TimeMoves(machine)
    return machine


def kernel(code: bytes) -> bytes:
    """A flat Multiboot kernel whose entry is the first byte of `code`."""
    flags = 0x10000
    header = struct.pack("<8I", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF, BASE, BASE, 0, 0, BASE + 32)
    return header + code


@functools.cache
def assembled(text: str, origin: int) -> bytes:
    """Machine code, assembled once."""
    return assemble(text, origin)


def put_handlers(machine: Machine, idt: int, idtr: int, handler: int, code: bytes) -> None:
    """An IDT of 256 gates to one handler, and what LIDT loads for it, at these addresses."""
    put = machine.memory.dma_write
    put(idtr, struct.pack("<HI", 0x7FF, idt))
    put(handler, code)
    put(idt, 256 * struct.pack("<HHHH", handler & 0xFFFF, CODE_SELECTOR, 0x8E00, handler >> 16))


def run(machine: Machine, until: int) -> list[StopReason]:
    """Run to a time, through as many resets as come before it. Broken if the machine comes back early otherwise."""
    reasons: list[StopReason] = []
    while machine.clock.now < until and len(reasons) < MOST_RESETS:
        reasons.append(machine.run(until=until))
        if reasons[-1] in (StopReason.ALL_SHUTDOWN, StopReason.IDLE_FOREVER):
            break
        if reasons[-1] is StopReason.UNTIL and machine.clock.now < until:
            raise Broken("run(until=…) says UNTIL, and it is earlier")
    return reasons


def check_same(one: dict[str, Any], other: dict[str, Any], what: str) -> None:
    """Two snapshots are equal; Broken names where they differ."""
    if one != other:
        raise Broken(f"{what}: {', '.join(sorted(_differences(one, other)))}")


def _differences(one: Any, other: Any, at: str = "") -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() | other.keys()
        return [name for key in keys for name in _differences(one.get(key), other.get(key), f"{at}.{key}".lstrip("."))]
    return [] if one == other else [at]
