# SPDX-License-Identifier: GPL-2.0-or-later
"""The SATA function, as a driver meets it: configuration space, native mode, one line for both ports."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board import firmware
from kdumpsim.board.disk import Disk
from kdumpsim.board.machine import Machine, MachineConfig
from kdumpsim.board.network import NetworkConfig
from kdumpsim.board.sata import SataController

from ide_bench import BenchMemory, BenchTimers, pattern  # isort: skip

COMMAND, STATUS, INTERFACE, PIN, PCS = 0x04, 0x06, 0x09, 0x3D, 0x92
SIZES = {0x10: 8, 0x14: 4, 0x18: 8, 0x1C: 4, 0x20: 16}
PORT0, CONTROL0, PORT1, CONTROL1, MASTER = 0xC200, 0xC20A, 0xC210, 0xC21A, 0xC220
IDENTIFY, READ_DMA, FLUSH = 0xEC, 0xC8, 0xE7
PIN18 = 0x10 + 2 * 18
LAPIC, IOAPIC = 0xFEE00000, 0xFEC00000


class Bench:
    """The function alone; `line` is INTA#, true while it asks."""

    def __init__(self, *disks: Disk | None) -> None:
        self.timers, self.memory = BenchTimers(), BenchMemory()
        self.line, self.raised = False, 0
        self.sata = SataController(self.timers, self.memory, self._drive, disks)

    def _drive(self, level: bool) -> None:
        assert level != self.line
        self.line = level
        self.raised += level

    def inb(self, port: int) -> int:
        return self.sata.port_read(port, 1)

    def outb(self, port: int, value: int) -> None:
        self.sata.port_write(port, 1, value)

    def command(self, base: int, code: int, *, sectors: int = 0, lba: int = 0) -> None:
        for register, value in ((6, 0xE0), (2, sectors), (3, lba), (4, 0), (5, 0), (7, code)):
            self.outb(base + register, value)


@pytest.fixture
def bench() -> Bench:
    return Bench(Disk.memory(4096), Disk.memory(512))


def test_configuration_space_is_that_of_an_ich5_in_native_mode(bench: Bench) -> None:
    pci = bench.sata.pci
    assert pci.read(0, 4) == 0x24D18086
    assert pci.read(0x08, 4) >> 16 == 0x0101
    assert pci.read(INTERFACE, 1) & 0x85 == 0x85
    assert pci.read(PIN, 1) == 1
    assert [pci.read(at, 4) for at in SIZES] == [0xC201, 0xC209, 0xC211, 0xC219, 0xC221]
    pci.write(INTERFACE, 1, 0)
    assert pci.read(INTERFACE, 1) & 0x05 == 0x05  # fixed, and says so:
    assert pci.read(INTERFACE, 1) & 0x0A == 0


@pytest.mark.parametrize(
    ("disks", "present"), [((True, True), 0x30), ((True, False), 0x10), ((False, True), 0x20), ((False, False), 0)]
)
def test_pcs_says_which_ports_have_a_drive(disks: tuple[bool, bool], present: int) -> None:
    bench = Bench(*(Disk.memory(64) if there else None for there in disks))
    assert bench.sata.pci.read(PCS, 2) == present | 3
    bench.sata.pci.write(PCS, 2, 0xFFFF)
    assert bench.sata.pci.read(PCS, 2) == present | 3


@given(at=st.sampled_from(sorted(SIZES)), value=st.integers(0, 0xFFFFFFFF), size=st.sampled_from([1, 2, 4]))
def test_a_base_address_keeps_the_bits_above_its_size_and_says_that_it_is_of_ports(
    at: int, value: int, size: int
) -> None:
    """PCI Local Bus Specification, 6.2.5.1: writing ones tells the size."""
    pci = Bench().sata.pci
    pci.write(at, 4, 0xFFFFFFFF)
    answer = pci.read(at, 4)
    assert answer & 1
    assert -(answer & ~3) & 0xFFFFFFFF == SIZES[at]
    value &= (1 << 8 * size) - 1
    pci.write(at, size, value)
    whole = 0xFFFFFFFF >> 8 * size << 8 * size | value
    assert pci.read(at, 4) == whole & -SIZES[at] | 1


@given(
    bases=st.lists(st.integers(0x1000, 0xFF00), min_size=5, max_size=5),
    enabled=st.booleans(),
)
def test_ports_are_where_the_base_addresses_say(bases: list[int], enabled: bool) -> None:
    bench = Bench(Disk.memory(64))
    remapped: list[list[tuple[int, int]]] = []
    bench.sata.on_remap = lambda: remapped.append(bench.sata.ports())
    for at, base in zip(SIZES, bases, strict=True):
        bench.sata.pci.write(at, 4, base)
    bench.sata.pci.write(COMMAND, 2, 5 if enabled else 4)
    expected = [(base & -size, size) for base, size in zip(bases, SIZES.values(), strict=True)] if enabled else []
    assert bench.sata.ports() == expected
    assert (remapped[-1] if remapped else Bench().sata.ports()) == expected


def test_moved_blocks_answer_at_their_new_places_only(bench: Bench) -> None:
    bench.sata.pci.write(0x10, 4, 0xE101)
    bench.sata.pci.write(0x14, 4, 0xE201)
    bench.outb(0xE102, 0x5A)
    assert bench.inb(0xE102) == 0x5A
    assert bench.inb(PORT0 + 2) == 0xFF
    assert bench.inb(0xE202) == 0x50
    assert bench.inb(CONTROL0) == 0xFF
    assert bench.inb(PORT1 + 7) == 0x50
    assert [bench.inb(0xE200 + at) for at in (0, 1, 3)] == [0xFF] * 3


def test_each_port_has_one_drive_and_no_slave(bench: Bench) -> None:
    bench.command(PORT0, IDENTIFY)
    bench.timers.advance(10_000)
    words = struct.unpack("<256H", b"".join(bench.sata.port_read(PORT0, 2).to_bytes(2, "little") for _ in range(256)))
    assert words[60] == 4096
    bench.outb(PORT0 + 6, 0xF0)
    assert bench.inb(PORT0 + 7) == 0
    assert bench.inb(PORT1 + 7) == 0x50


def test_data_move_by_the_bus_master_of_the_port() -> None:
    disk = Disk.memory(512)
    disk.write(0, pattern(16))
    bench = Bench(None, disk)
    bench.memory.descriptors(0x9000, (0x10000, 16 * 512))
    bench.sata.port_write(MASTER + 8 + 4, 4, 0x9000)
    bench.outb(MASTER + 8, 8)
    bench.command(PORT1, READ_DMA, sectors=16)
    bench.outb(MASTER + 8, 9)
    bench.timers.advance(1_000_000)
    assert bench.memory.data[0x10000 : 0x10000 + 16 * 512] == pattern(16)
    assert bench.inb(MASTER + 8 + 2) & 5 == 4
    assert bench.line


def test_the_line_is_a_level_that_reading_the_status_ends(bench: Bench) -> None:
    bench.command(PORT0, FLUSH)
    assert not bench.line
    bench.timers.advance(1_000_000)
    assert bench.line
    bench.outb(MASTER + 2, 4)  # the bus master's note is another matter
    bench.inb(CONTROL0)
    assert bench.line
    bench.inb(PORT0 + 7)
    assert not bench.line


def test_both_ports_hold_one_line(bench: Bench) -> None:
    for base in (PORT0, PORT1):
        bench.command(base, FLUSH)
    bench.timers.advance(1_000_000)
    assert bench.raised == 1
    bench.inb(PORT0 + 7)
    assert bench.line
    bench.inb(PORT1 + 7)
    assert not bench.line


def test_nien_and_a_software_reset_let_the_line_go(bench: Bench) -> None:
    bench.command(PORT0, FLUSH)
    bench.timers.advance(1_000_000)
    bench.outb(CONTROL0, 2)
    assert not bench.line
    bench.outb(CONTROL0, 0)
    assert bench.line
    bench.outb(CONTROL0, 4)
    assert not bench.line


def test_interrupt_disable_and_interrupt_status(bench: Bench) -> None:
    """PCI 2.3, 6.2.2 and 6.2.3."""
    pci = bench.sata.pci
    pci.write(COMMAND, 2, 0x405)
    assert pci.read(COMMAND, 2) == 0x405
    bench.command(PORT0, FLUSH)
    bench.timers.advance(1_000_000)
    assert not bench.line
    assert pci.read(STATUS, 2) & 8
    pci.write(COMMAND, 2, 0x005)
    assert bench.line
    bench.inb(PORT0 + 7)
    assert not pci.read(STATUS, 2) & 8


def test_a_hardware_reset_lets_the_line_go_and_brings_the_ports_back(bench: Bench) -> None:
    bench.command(PORT0, FLUSH)
    bench.timers.advance(1_000_000)
    bench.sata.pci.write(0x10, 4, 0xE001)
    bench.sata.reset()
    assert not bench.line
    assert bench.sata.ports()[0] == (PORT0, 8)
    assert bench.sata.state() == Bench(Disk.memory(4096), Disk.memory(512)).sata.state()


def test_there_is_room_for_two_disks() -> None:
    with pytest.raises(ValueError, match="room for 2 disks"):
        Bench(*(Disk.memory(64),) * 3)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [*range(PORT0, PORT0 + 8), CONTROL0, *range(PORT1, PORT1 + 8), CONTROL1, *range(MASTER, MASTER + 16)]
            ),
            st.sampled_from([1, 2, 4]),
            st.integers(0, 0xFFFFFFFF),
            st.integers(0, 400_000),
        ),
        max_size=40,
    )
)
def test_no_sequence_of_accesses_breaks_it(accesses: list[tuple[int, int, int, int]]) -> None:
    bench = Bench(Disk.memory(64), Disk.memory(64))
    for port, size, value, ns in accesses:
        bench.sata.port_write(port, size, value & (1 << 8 * size) - 1)
        bench.timers.advance(ns)
        assert 0 <= bench.sata.port_read(port, size) < 1 << 8 * size
        assert bench.line == any(bench.sata._asking)
    other = Bench(Disk.memory(64), Disk.memory(64))
    other.sata.restore(bench.sata.state())
    assert other.sata.state() == bench.sata.state()


# On the board.


def firmware_interrupts(machine: Machine) -> dict[int, tuple[int, int]]:
    """PCI interrupt assignments of the MP table: slot and pin to flags and I/O APIC pin."""
    table = bytes(machine.memory.view[firmware.MP_TABLE : firmware.MP_TABLE + 4096])
    length = struct.unpack_from("<H", table, 4)[0]
    return {source: (flags, pin) for flags, bus, source, pin in _sources(table[44:length]) if bus == 0}


def _sources(entries: bytes) -> Iterator[tuple[int, int, int, int]]:
    at = 0
    while at < len(entries):
        if entries[at] == 3:
            _, _, flags, bus, source, _, pin = struct.unpack_from("<BBHBBBB", entries, at)
            yield flags, bus, source, pin
        at += 20 if entries[at] == 0 else 8


def machine_with(nic_slot: int = 3) -> Machine:
    machine = Machine(
        MachineConfig(cpus=1, memory=2 << 20, sata=(Disk.memory(64), None), network=NetworkConfig(0), nic_slot=nic_slot)
    )
    machine.load_multiboot(_halting_image(), "")
    return machine


def _halting_image() -> bytes:
    header = struct.pack("<8I", 0x1BADB002, 0x10000, -(0x1BADB002 + 0x10000) & 0xFFFFFFFF, 0x100000, 0x100000, 0, 0, 0)
    return header[:28] + struct.pack("<I", 0x100020) + b"\xfa\xf4\xeb\xfd"


def asks(machine: Machine) -> None:
    """A command on port 0, and the time it takes."""
    for port, value in ((PORT0 + 6, 0xE0), (PORT0 + 7, FLUSH)):
        machine.port_out(0, port, 1, value)
    machine.run(until=machine.clock.base + 1_000_000)


def test_firmware_tells_of_level_triggered_active_low_pins_of_their_own() -> None:
    """MultiProcessor Specification 1.4, 4.3.4: polarity and trigger 11b."""
    assert firmware_interrupts(machine_with()) == {31 << 2: (0xF, 18), 3 << 2: (0xF, 18)}
    assert firmware_interrupts(machine_with(4)) == {31 << 2: (0xF, 18), 4 << 2: (0xF, 19)}


def test_the_line_is_at_pin_18_low_while_it_asks_and_at_irq_11_of_the_8259s() -> None:
    machine = machine_with()
    assert machine.ioapic._levels >> 16 & 0xF == 0xF
    machine.mmio_write(0, IOAPIC, 4, PIN18)
    machine.mmio_write(0, IOAPIC + 0x10, 4, 0xA0C1)  # level, active low, fixed, vector 0xC1
    machine.mmio_write(0, LAPIC + 0xF0, 4, 0x1FF)
    assert machine.lapics[0].pending() is None
    asks(machine)
    assert machine.lapics[0].pending() == 0xC1
    assert not machine.ioapic._levels >> 11 & 1  # PIRQRC is about the 8259s
    machine.port_out(0, 0xA0, 1, 0x0A)
    assert machine.port_in(0, 0xA0, 1) & 1 << 3


def test_level_asserted_comes_again_after_each_end_of_interrupt() -> None:
    machine = machine_with()
    machine.mmio_write(0, LAPIC + 0xF0, 4, 0x1FF)
    machine.mmio_write(0, IOAPIC, 4, PIN18)
    machine.mmio_write(0, IOAPIC + 0x10, 4, 0xA0C1)
    asks(machine)
    lapic = machine.lapics[0]
    for _ in range(3):
        assert lapic.acknowledge() == 0xC1
        assert lapic.pending() is None
        machine.mmio_write(0, LAPIC + 0xB0, 4, 0)
        assert lapic.pending() == 0xC1
    assert lapic.acknowledge() == 0xC1
    machine.port_in(0, PORT0 + 7, 1)
    machine.mmio_write(0, LAPIC + 0xB0, 4, 0)
    assert lapic.pending() is None


def test_a_card_in_slot_3_shares_the_line_and_one_in_slot_4_does_not() -> None:
    for slot, pins in ((3, 0xB), (4, 0x3)):
        machine = machine_with(slot)
        asks(machine)
        machine.pci.interrupt_line(slot, 1)(True)
        assert machine.ioapic._levels >> 16 & 0xF == pins
        machine.port_in(0, PORT0 + 7, 1)
        assert machine.ioapic._levels >> 16 & 0xF == (pins | 4 if slot == 4 else pins)
