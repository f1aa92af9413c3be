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
    bus.attach(other)
    bus.attach(moving)
    moving.range = (0xD000, 2)
    bus.remap()
    assert bus.read(0xC000, 1) == 0xFF
    bus.write(0xD000, 1, 7)
    bus.write(0xD001, 1, 8)
    assert (moving.log, other.log) == ([(0xD000, 1, 7)], [(0xD001, 1, 8)])
    moving.range = (0xC000, 2)
    bus.remap()
    bus.write(0xD001, 1, 9)
    assert other.log[-1] == (0xD001, 1, 9)


class Registers:
    def __init__(self, base: int, size: int = 0x1000) -> None:
        self.range = (base, size)
        self.log: list[tuple[int, int]] = []

    def memory(self) -> list[tuple[int, int]]:
        return [self.range]

    def read(self, offset: int) -> int:
        return 0x11223344 + offset

    def write(self, offset: int, value: int) -> None:
        self.log.append((offset, value))


def test_mmio_registers_are_32_bits_wide() -> None:
    bus, device = MmioBus(2), Registers(0xFEC00000)
    bus.attach(device)
    assert bus.read(1, 0xFEC00020, 4) == 0x11223344 + 0x20
    assert bus.read(0, 0xFEC00003, 1) == 0x11
    assert bus.read(0, 0xFEC00002, 2) == 0x1122
    bus.write(1, 0xFEC000B0, 4, 5)
    bus.write(1, 0xFEC000B0, 1, 5)
    bus.write(1, 0xFEC000B1, 4, 5)
    assert device.log == [(0xB0, 5)]
    assert bus.read(0, 0xFEE00000, 4) == 0xFFFFFFFF


def test_a_page_may_be_each_cpus_own() -> None:
    bus, devices = MmioBus(2), [Registers(0xFEE00000), Registers(0xFEE00000)]
    for cpu, device in enumerate(devices):
        bus.attach(device, cpu)
    bus.write(1, 0xFEE000B0, 4, 7)
    assert [device.log for device in devices] == [[], [(0xB0, 7)]]
    assert bus.bases == [0xFEE00000]
    with pytest.raises(ValueError, match="0xfee00000 is taken"):
        bus.attach(Registers(0xFEE00000))
    with pytest.raises(ValueError, match="not in one page"):
        bus.attach(Registers(0xFED00800))


def test_the_map_of_ports_tells_nothing_of_how_it_came_about() -> None:
    """A device that was pushed aside answers again once the other has gone, in a restored machine as in the first."""
    bus, first, second = PortBus(), Device(0xC000, 16), Device(0xC100, 16)
    bus.attach(first)
    bus.attach(second)
    second.range = (0xC000, 16)
    bus.remap()
    first.range = (0xD000, 16)
    bus.remap()
    bus.write(0xC000, 1, 1)
    assert (first.log, second.log) == ([], [(0xC000, 1, 1)])
