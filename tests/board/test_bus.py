# SPDX-License-Identifier: GPL-2.0-or-later
"""Ports and memory-mapped registers."""

from __future__ import annotations

import pytest

from kdumpsim.board.bus import MmioBus, PortBus


class Device:
    def __init__(self, first: int, count: int) -> None:
        self.range = (first, count)
        self.log: list[tuple[int, ...]] = []

    def ports(self) -> list[tuple[int, int]]:
        return [self.range]

    def port_read(self, port: int, size: int) -> int:
        return port & 0xFF

    def port_write(self, port: int, size: int, value: int) -> None:
        self.log.append((port, size, value))


def test_ports_reach_their_device_and_nothing_else() -> None:
    bus, device = PortBus(), Device(0x60, 5)
    bus.attach(device)
    assert bus.read(0x64, 1) == 0x64
    assert [bus.read(0x65, size) for size in (1, 2, 4)] == [0xFF, 0xFFFF, 0xFFFFFFFF]
    bus.write(0x60, 2, 0x1234)
    bus.write(0x65, 1, 1)
    assert device.log == [(0x60, 2, 0x1234)]


def test_a_port_has_one_device() -> None:
    bus = PortBus()
    bus.attach(Device(0x60, 5))
    with pytest.raises(ValueError, match="0x64 is taken"):
        bus.attach(Device(0x64, 1))


def test_remap_moves_a_device_and_spares_others() -> None:
    bus, moving, other = PortBus(), Device(0xC000, 2), Device(0xD001, 1)
    bus.attach(moving)
    bus.attach(other)
    moving.range = (0xD000, 2)
    bus.remap(moving)
    assert bus.read(0xC000, 1) == 0xFF
    bus.write(0xD000, 1, 7)
    bus.write(0xD001, 1, 8)
    assert (moving.log, other.log) == ([(0xD000, 1, 7)], [(0xD001, 1, 8)])
    moving.range = (0xC000, 2)
    bus.remap(moving)
    bus.write(0xD001, 1, 9)
    assert other.log[-1] == (0xD001, 1, 9)


def test_mmio_registers_are_32_bits_wide() -> None:
    bus = MmioBus()
    log: list[tuple[int, int, int]] = []
    bus.attach(0xFEE00000, lambda cpu, offset: 0x11223344 + cpu + offset, lambda *write: log.append(write))
    assert bus.read(1, 0xFEE00020, 4) == 0x11223344 + 1 + 0x20
    assert bus.read(0, 0xFEE00003, 1) == 0x11
    assert bus.read(0, 0xFEE00002, 2) == 0x1122
    bus.write(2, 0xFEE000B0, 4, 5)
    bus.write(2, 0xFEE000B0, 1, 5)
    bus.write(2, 0xFEE000B1, 4, 5)
    assert log == [(2, 0xB0, 5)]
    assert bus.read(0, 0xFEC00000, 4) == 0xFFFFFFFF
