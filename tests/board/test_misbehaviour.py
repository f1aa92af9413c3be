# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that misbehaves never raises a Python exception out of the machine: it is an outcome, and a bounded one."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board.disk import Disk
from kdumpsim.board.machine import Machine, MachineConfig, StopReason
from kdumpsim.compiler.assembler import assemble
from properties import examples

BASE = 0x100000
MEMORY = 4 << 20
MS = 1_000_000
RUN_NS = 2 * MS

# What a callback of the CPU's engine raises is not raised any further, but reported.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
PAGES = (0xFEE00000, 0xFEC00000)


def pc(cpus: int = 2, seed: int = 0) -> Machine:
    disk = Disk.memory(64)
    return Machine(MachineConfig(cpus=cpus, memory=MEMORY, disks=(disk, None, Disk.memory(64), None), seed=seed))


def kernel(code: bytes) -> bytes:
    """A flat Multiboot kernel whose entry is the first byte behind its header."""
    flags = 0x10000
    header = struct.pack("<8I", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF, BASE, BASE, 0, 0, BASE + 32)
    return header + code


def run_on(machine: Machine, until: int) -> list[StopReason]:
    """Run to a time, through as many resets as come before it."""
    reasons: list[StopReason] = []
    while machine.clock.now < until and len(reasons) < 8:
        reasons.append(machine.run(until=until))
        if reasons[-1] not in (StopReason.RESET, StopReason.STOPPED):
            break
    return reasons


# Noise seldom meets a device, so code that talks to one stands in between.
KNOWN_PORTS = [0x20, 0x21, 0x43, 0x60, 0x64, 0x70, 0x71, 0x92, 0xA1, 0x1F0, 0x1F7, 0x3D4, 0x3F8, 0x3FA, 0xCF8, 0xCFC]
ports = st.one_of(st.integers(0, 0xFFFF), st.sampled_from(KNOWN_PORTS))
talk = st.one_of(
    st.binary(min_size=1, max_size=24),
    st.tuples(
        ports, st.integers(0, 0xFFFFFFFF), st.sampled_from([b"\xee", b"\xef", b"\x66\xef", b"\xec", b"\xed"])
    ).map(lambda t: b"\xba" + struct.pack("<I", t[0]) + b"\xb8" + struct.pack("<I", t[1]) + t[2]),
    st.tuples(st.sampled_from(PAGES), st.integers(0, 0xFFF), st.integers(0, 0xFFFFFFFF)).map(
        lambda t: b"\xc7\x05" + struct.pack("<II", t[0] + t[1], t[2])
    ),
    st.sampled_from([b"\xfb", b"\xf4", b"\xfb\xf4", b"\xcd\x80", b"\x0f\x0b", b"\x0f\x22\xc0", b"\x0f\x01\x18"]),
)


@examples(60)
@given(st.lists(talk, min_size=1, max_size=40), st.integers(1, 3))
def test_garbage_for_a_kernel(code: list[bytes], cpus: int) -> None:
    machine = pc(cpus)
    machine.load_multiboot(kernel(b"".join(code)), "")
    reasons = run_on(machine, RUN_NS)
    assert machine.clock.now >= RUN_NS or reasons[-1] is not StopReason.UNTIL


def test_megabytes_of_noise() -> None:
    for seed in range(10):
        machine = pc(seed=seed)
        machine.load_multiboot(kernel(random.Random(seed).randbytes(2 << 20)), "")
        run_on(machine, 50 * MS)


def test_random_garbage_runs_the_same_twice() -> None:
    def adventure(seed: int) -> tuple[list[StopReason], int, bytes]:
        machine = pc()
        machine.load_multiboot(kernel(random.Random(seed).randbytes(4096)), "")
        return run_on(machine, RUN_NS), machine.clock.now, bytes(machine.memory.view)

    for seed in range(5):
        assert adventure(seed) == adventure(seed)


accesses = st.tuples(st.integers(0, 1 << 16), st.sampled_from([1, 2, 4]), st.integers(0, 0xFFFFFFFF), st.booleans())


@examples(200)
@given(st.lists(accesses, max_size=80), st.integers(0, 5 * MS))
def test_any_access_to_any_port_of_a_device(script: list[tuple[int, int, int, bool]], pause: int) -> None:
    """By number into the list of ports somebody answers at, so that every access meets a device."""
    machine = pc()
    machine.load_multiboot(kernel(b"\xfa\xf4\xeb\xfd"), "")
    for number, size, value, write in script:
        answering = sorted(machine.devices.ports.readers)
        port = answering[number % len(answering)]
        if write:
            machine.port_out(0, port, size, value & (1 << 8 * size) - 1)
        else:
            assert 0 <= machine.port_in(0, port, size) < 1 << 8 * size, hex(port)
    run_on(machine, pause)
    machine.restore(machine.snapshot())
    machine.reset()


@examples(200)
@given(
    st.lists(
        st.tuples(st.sampled_from(PAGES), st.integers(0, 0xFFF), st.sampled_from([1, 2, 4]),
                  st.integers(0, 0xFFFFFFFF), st.booleans(), st.integers(0, 1)),
        max_size=80,
    ),
    st.integers(0, 5 * MS),
)  # fmt: skip
def test_any_access_to_the_apics(script: list[tuple[int, int, int, int, bool, int]], pause: int) -> None:
    machine = pc()
    machine.load_multiboot(kernel(b"\xfa\xf4\xeb\xfd"), "")
    for page, offset, size, value, write, cpu in script:
        if write:
            machine.mmio_write(cpu, page + offset, size, value & (1 << 8 * size) - 1)
        else:
            assert 0 <= machine.mmio_read(cpu, page + offset, size) < 1 << 8 * size
    run_on(machine, pause)
    machine.restore(machine.snapshot())
    machine.reset()


# One bus-master transfer of 16 sectors, either way, with a descriptor table where the test wants it.
DMA = """
    mov $0xC004, %dx
    mov ${table:#x}, %eax
    out %eax, %dx
    mov $0xC000, %dx
    mov ${start}, %al
    mov $0x1F6, %dx
    mov $0xE0, %al
    out %al, %dx
    mov $0x1F2, %dx
    mov $16, %al
    out %al, %dx
    xor %al, %al
    mov $0x1F3, %dx
    out %al, %dx
    mov $0x1F4, %dx
    out %al, %dx
    mov $0x1F5, %dx
    out %al, %dx
    mov $0x1F7, %dx
    mov ${command:#x}, %al
    out %al, %dx
    mov $0xC000, %dx
    mov ${start}, %al
    out %al, %dx
    cli
1:  hlt
    jmp 1b
"""


@pytest.mark.parametrize("write", [False, True], ids=["from-disk", "to-disk"])
@pytest.mark.parametrize(
    ("table", "buffer"),
    [
        (0x200000, MEMORY - 512),  # the buffer ends outside
        (0x200000, MEMORY + 4096),
        (0x200000, 0xFEE00000),  # a local APIC is no memory to a bus master
        (0x200000, 0xFFFFFF00),  # around the end of the address space
        (0x200000, 0xF0000),  # ROM
        (0x200000, 0xA0000),
        (MEMORY - 4, 0x300000),  # the table ends outside
        (0xFFFFFFFC, 0x300000),
        (0x80000000, 0x300000),
    ],
)
def test_dma_outside_ram(table: int, buffer: int, write: bool) -> None:
    machine = after_dma(table, buffer, write)
    data = bytes(range(256)) * 32
    for address in range(0, MEMORY, 512):  # what of the buffer is RAM got its part, and nothing else did
        inside = buffer <= address < buffer + 8192 and machine.memory.is_ram(address)
        if not write and table < MEMORY - 8 and (inside or machine.memory.is_ram(address)):
            assert (bytes(machine.memory.view[address : address + 512]) == data[:512]) == inside, hex(address)


def test_dma_inside_ram_for_comparison() -> None:
    data = bytes(range(256)) * 32
    assert after_dma(0x200000, 0x300000, False).memory.dma_read(0x300000, 8192) == data
    machine = after_dma(0x200000, 0x300000, True)
    assert machine.ide.disks[0] is not None
    assert machine.ide.disks[0].read(0, 16) == bytes(8192)


def after_dma(table: int, buffer: int, write: bool) -> Machine:
    machine = pc(1)
    machine.ide.disks[0].write(0, bytes(range(256)) * 32)  # type: ignore[union-attr]
    code = DMA.format(table=table, start=1 if write else 9, command=0xCA if write else 0xC8)
    machine.load_multiboot(kernel(assemble(code, BASE + 32)), "")
    machine.memory.dma_write(table, struct.pack("<II", buffer, 0x80000000 | 8192))
    rom = bytes(machine.memory.view[0xF0000:0x100000])
    assert machine.run(until=100 * MS) is StopReason.UNTIL
    assert bytes(machine.memory.view[0xF0000:0x100000]) == rom
    return machine
