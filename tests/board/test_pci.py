# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board import pci
from kdumpsim.board import pci_registers as regs
from kdumpsim.board.pci_registers import BAR4


class Bus:
    def __init__(self) -> None:
        self.resets = 0
        self.ide = pci.ide_function()
        self.irqs: dict[int, bool] = {}
        self.pci = pci.PciBus(self._reset, lambda number: lambda level: self._drive(number, level))
        self.pci.add(1, 1, self.ide)

    def _reset(self) -> None:
        self.resets += 1

    def _drive(self, number: int, level: bool) -> None:
        assert self.irqs.get(number, False) != level
        self.irqs[number] = level

    def select(self, slot: int, function: int, offset: int, bus: int = 0) -> None:
        self.pci.port_write(0xCF8, 4, 0x80000000 | bus << 16 | slot << 11 | function << 8 | offset & 0xFC)

    def read(self, slot: int, function: int, offset: int, size: int) -> int:
        self.select(slot, function, offset)
        return self.pci.port_read(0xCFC + (offset & 3), size)

    def write(self, slot: int, function: int, offset: int, size: int, value: int) -> None:
        self.select(slot, function, offset)
        self.pci.port_write(0xCFC + (offset & 3), size, value)


def test_enumeration_finds_the_board() -> None:
    bus = Bus()
    found = {}
    for slot in range(32):
        for function in range(8):
            identity = bus.read(slot, function, 0, 4)
            if identity != 0xFFFFFFFF:
                found[slot, function] = (identity, bus.read(slot, function, 8, 4) >> 8)
    assert found == {
        (0, 0): (0x12378086, 0x060000),
        (1, 0): (0x70008086, 0x060100),
        (1, 1): (0x70108086, 0x010180),
    }
    assert bus.read(1, 0, 0x0E, 1) == 0x80
    assert bus.read(0, 0, 0x0E, 1) == 0


def test_address_register_takes_doublewords_only() -> None:
    bus = Bus()
    bus.pci.port_write(0xCF8, 4, 0xFFFFFFFF)
    assert bus.pci.port_read(0xCF8, 4) == 0x80FFFFFC
    bus.pci.port_write(0xCF8, 1, 0)
    bus.pci.port_write(0xCF8, 2, 0)
    assert bus.pci.port_read(0xCF8, 4) == 0x80FFFFFC
    assert bus.pci.port_read(0xCF8, 2) == 0xFFFF


def test_other_buses_and_a_clear_enable_bit_read_ones() -> None:
    bus = Bus()
    bus.select(0, 0, 0, bus=1)
    assert bus.pci.port_read(0xCFC, 4) == 0xFFFFFFFF
    bus.pci.port_write(0xCF8, 4, 0)
    assert bus.pci.port_read(0xCFC, 2) == 0xFFFF


def test_bar_sizing_and_moving() -> None:
    bus, moves = Bus(), []
    bus.ide.on_change = lambda: moves.append(bus.ide.io_base(BAR4))
    assert bus.ide.io_base(BAR4) == 0xC000
    bus.write(1, 1, BAR4, 4, 0xFFFFFFFF)
    assert bus.read(1, 1, BAR4, 4) == 0xFFFFFFF1
    assert bus.ide.io_base(BAR4) is None
    bus.write(1, 1, BAR4, 4, 0xD00C)
    assert bus.ide.io_base(BAR4) == 0xD000
    bus.write(1, 1, regs.COMMAND, 2, 0x0004)
    assert bus.ide.io_base(BAR4) is None
    assert moves == [None, 0xD000, None]
    for index in (0, 1, 2, 3, 5):
        bus.write(1, 1, 0x10 + 4 * index, 4, 0xFFFFFFFF)
        assert bus.read(1, 1, 0x10 + 4 * index, 4) == 0


def test_read_only_and_write_one_to_clear() -> None:
    bus = Bus()
    bus.write(1, 1, 0, 4, 0)
    assert bus.read(1, 1, 0, 4) == 0x70108086
    status = bus.ide.registers[regs.STATUS]
    assert isinstance(status, regs.Status)
    status.received_master_abort = 1
    assert bus.read(1, 1, regs.STATUS, 2) == 0x2280
    bus.write(1, 1, regs.STATUS, 2, 0xFFFF)
    assert bus.read(1, 1, regs.STATUS, 2) == 0x0280
    bus.write(1, 1, regs.INTERRUPT_LINE, 1, 14)
    assert bus.read(1, 1, regs.INTERRUPT_LINE, 1) == 14


def test_reset_control_register() -> None:
    bus = Bus()
    bus.pci.port_write(0xCF9, 1, 0x02)
    assert bus.resets == 0
    bus.pci.port_write(0xCF9, 1, 0x06)
    assert bus.resets == 1
    assert bus.pci.port_read(0xCF9, 1) == 0x06
    bus.pci.port_write(0xCF9, 1, 0x06)
    assert bus.resets == 1
    bus.pci.reset()
    bus.pci.port_write(0xCF9, 1, 0x04)
    assert bus.resets == 2


@given(st.lists(st.tuples(st.integers(0xCF8, 0xCFF), st.sampled_from([1, 2, 4]), st.integers(0, 0xFFFFFFFF))))
def test_any_access_keeps_the_identity_and_round_trips(accesses: list[tuple[int, int, int]]) -> None:
    bus = Bus()
    for port, size, value in accesses:
        bus.pci.port_write(port, size, value & (1 << 8 * size) - 1)
        assert 0 <= bus.pci.port_read(port, size) < 1 << 8 * size
    state = bus.pci.state()
    other = Bus()
    other.pci.restore(state)
    assert other.pci.state() == state
    assert bus.read(0, 0, 0, 4) == 0x12378086
    bus.pci.reset()
    assert bus.pci.state() == Bus().pci.state()


def test_an_interrupt_pin_drives_the_irq_its_route_register_names() -> None:
    bus = Bus()
    line = bus.pci.interrupt_line(slot=3, pin=1)  # PIRQC#
    line(True)
    assert bus.irqs == {}  # 0x80: not routed
    bus.write(1, 0, 0x62, 1, 11)
    assert bus.irqs == {11: True}
    bus.write(1, 0, 0x62, 1, 10)
    assert bus.irqs == {11: False, 10: True}
    line(False)
    assert bus.irqs == {11: False, 10: False}


def test_pins_that_share_an_irq_hold_it_until_the_last_lets_go() -> None:
    bus = Bus()
    for register in (0x60, 0x62):
        bus.write(1, 0, register, 1, 11)
    first, second = bus.pci.interrupt_line(1, 1), bus.pci.interrupt_line(3, 1)
    first(True)
    second(True)
    first(False)
    assert bus.irqs == {11: True}
    second(False)
    assert bus.irqs == {11: False}


def test_a_restored_bus_knows_who_asks_without_driving_anything_anew() -> None:
    bus, other = Bus(), Bus()
    bus.write(1, 0, 0x62, 1, 11)
    bus.pci.interrupt_line(3, 1)(True)
    other.pci.restore(bus.pci.state())
    assert other.irqs == {}
    other.irqs[11] = True
    other.pci.interrupt_line(3, 1)(False)
    assert other.irqs == {11: False}
