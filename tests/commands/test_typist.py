# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys of a terminal, typed on the PS/2 keyboard: what arrives is scancode set 1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board.machine import Machine, MachineConfig
from kdumpsim.commands.typist import Typist
from properties import examples


def codes(data: bytes) -> list[int]:
    machine = Machine(MachineConfig(cpus=1))
    machine.load_multiboot(KERNEL, "k")
    Typist(machine.i8042).feed(data)
    found = []
    while machine.i8042.port_read(0x64, 1) & 1:
        found.append(machine.i8042.port_read(0x60, 1))
    return found


KERNEL = b"".join(
    value.to_bytes(4, "little")
    for value in (0x1BADB002, 0x10000, -(0x1BADB002 + 0x10000) & 0xFFFFFFFF, 0x100000, 0x100000, 0, 0, 0x100020)
) + bytes(64)  # fmt: skip
UP = [0xE0, 0x48, 0xE0, 0xC8]


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (b"a", [0x1E, 0x9E]),
        (b"A", [0x2A, 0x1E, 0x9E, 0xAA]),
        (b"\r", [0x1C, 0x9C]),
        (b"\x7f", [0x0E, 0x8E]),
        (b"\x03", [0x1D, 0x2E, 0xAE, 0x9D]),
        (b"\x1b", [0x01, 0x81]),
        (b"\x1bx", [0x38, 0x2D, 0xAD, 0xB8]),
        (b"\x1b[A", UP),
        (b"\x1bOA", UP),
        (b"\x1b[3~", [0xE0, 0x53, 0xE0, 0xD3]),
        (b"\x1b[15~a", [0x3F, 0xBF, 0x1E, 0x9E]),
        (b"\x1b[99~\xe4a", [0x1E, 0x9E]),
    ],
)
def test_keys(typed: bytes, wanted: list[int]) -> None:
    assert codes(typed) == wanted


@examples(25)
@given(st.binary(max_size=12))
def test_anything_can_be_typed(data: bytes) -> None:
    machine = Machine(MachineConfig(cpus=1))
    Typist(machine.i8042).feed(data)
