# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board import firmware
from kdumpsim.board.firmware import E820, RAM, RESERVED
from kdumpsim.board.pirq import PciInterrupt
from kdumpsim.board.vga import Vga


class Memory:
    def __init__(self, size: int = 2 << 20) -> None:
        self.view = memoryview(bytearray(b"\xaa" * size))


def find_mp_pointer(view: memoryview) -> int:
    """As the specification has an operating system search: EBDA, last KiB of base memory, ROM."""
    ebda = int.from_bytes(view[0x40E:0x410], "little") << 4
    base = int.from_bytes(view[0x413:0x415], "little") * 1024
    for begin, size in ((ebda, 1024), (base - 1024, 1024), (0xF0000, 0x10000)):
        for at in range(begin, begin + size, 16):
            if view[at : at + 4] == b"_MP_" and sum(view[at : at + 16 * view[at + 8]]) & 0xFF == 0:
                return at
    raise AssertionError("no MP floating pointer")


def test_the_screen_is_blank_and_grey_on_black() -> None:
    """A kernel may write characters alone, and finds them readable."""
    memory = Memory()
    firmware.install(memory, cpus=1)
    screen = Vga().screen(memory.view)
    assert set(screen.lines) == {" " * 80}
    assert set(screen.attributes) == {0x07}


@given(cpus=st.integers(1, 64), ioapic=st.integers(0, 255))
def test_mp_table_reads_back(cpus: int, ioapic: int) -> None:
    memory = Memory()
    firmware.install(memory, cpus=cpus, ioapic_id=ioapic)
    view = memory.view
    table = int.from_bytes(view[(at := find_mp_pointer(view)) + 4 : at + 8], "little")
    length, revision, _, _, _, _, _, count, lapic, extended, _ = struct.unpack_from("<HBB8s12sIHHIHB", view, table + 4)
    assert view[table : table + 4] == b"PCMP"
    assert sum(view[table : table + length]) & 0xFF == 0
    assert (revision, lapic, extended) == (4, 0xFEE00000, 0)
    at, kinds = table + 44, []
    processors, irqs, local = [], {}, []
    for _ in range(count):
        kind = view[at]
        kinds.append(kind)
        if kind == 0:
            processors.append((view[at + 1], view[at + 3]))
        elif kind == 2:
            assert (view[at + 1], view[at + 3]) == (ioapic, 1)
            assert bytes(view[at + 4 : at + 8]) == (0xFEC00000).to_bytes(4, "little")
        elif kind == 3:
            assert (view[at + 1], view[at + 4], view[at + 6]) == (0, 1, ioapic)
            irqs[view[at + 5]] = view[at + 7]
        elif kind == 4:
            local.append((view[at + 1], view[at + 6], view[at + 7]))
        at += 20 if kind == 0 else 8
    assert at == table + length
    assert kinds == sorted(kinds)
    assert processors == [(n, 3 if n == 0 else 1) for n in range(cpus)]
    assert irqs == {0: 2} | {n: n for n in range(1, 16) if n != 2}
    assert local == [(3, 0, 0), (1, 0xFF, 1)]


def test_a_pci_interrupt_is_the_pci_buss_level_triggered_and_told_to_its_device() -> None:
    interrupt = PciInterrupt(slot=3, pin=1, irq=11)
    table = firmware.mp_table(1, pci_interrupts=[interrupt])
    assert sum(table) & 0xFF == 0
    sources = [table[at : at + 8] for at in range(44 + 20 + 3 * 8, len(table), 8)]
    assert [source for source in sources if source[7] == 11] == [bytes([3, 0, 1, 0, 0, 3 << 2, 0, 11])]
    written: list[tuple[int, int, int]] = []
    firmware.program(
        lambda port, size, value: written.append((port, size, value)), lambda *_: None, pci_interrupts=[interrupt]
    )
    at = written.index((0xCF8, 4, 0x80000860))
    assert written[at + 1] == (0xCFC + 2, 1, 11)  # PIRQRC[C]
    at = written.index((0xCF8, 4, 0x8000183C))
    assert written[at + 1] == (0xCFC, 1, 11)  # interrupt line of 00:03.0
    assert written[-2:] == [(0x4D0, 1, 0), (0x4D1, 1, 0x08)]


@pytest.mark.parametrize(
    ("intr", "listed", "pin", "lint0"),
    [
        ("lint0", [(4, 3)], None, 0x8700),
        ("ioapic", [(3, 3)], 0x700, 0x18700),
        ("ioapic-unlisted", [], 0x700, 0x18700),
        ("lint0-mislisted", [(3, 3)], None, 0x8700),
    ],
)
def test_where_the_8259s_are_and_what_the_table_says_of_it(
    intr: str, listed: list[tuple[int, int]], pin: int | None, lint0: int
) -> None:
    """ExtINT entries of the MP table (kind, type); the I/O APIC's pin 0 and LINT0 as the firmware leaves them."""
    table = firmware.mp_table(1, intr=firmware.Intr(intr))
    sources = [table[at : at + 8] for at in range(44 + 20 + 3 * 8, len(table), 8)]
    assert [(kind, source) for kind, source, *_ in sources if source == 3] == listed
    written: list[tuple[int, int, int]] = []
    firmware.program(
        lambda *_: None,
        lambda address, size, value: written.append((address, size, value)),
        intr=firmware.Intr(intr),
    )
    assert (0xFEE00350, 4, lint0) in written
    assert [value for address, _, value in written if address == 0xFEC00010] == ([0, pin] if pin is not None else [])


# As read from QEMU 7.2's `pc` with SeaBIOS, less INT 10h, which its VGA BIOS has taken there.
USUAL = {
    0x00: 0xFF53, 0x02: 0xE2C3, 0x03: 0xFF53, 0x05: 0xFF54, 0x08: 0xFEA5, 0x09: 0xE987, 0x0E: 0xEF57, 0x11: 0xF84D,
    0x12: 0xF841, 0x13: 0xE3FE, 0x14: 0xE739, 0x15: 0xF859, 0x16: 0xE82E, 0x17: 0xEFD2, 0x19: 0xE6F2, 0x1A: 0xFE6E,
    0x1B: 0xFF53, 0x20: 0xFF53, 0x40: 0xEC59, 0x80: 0xFF53, 0xFF: 0xFF53,
}  # fmt: skip


def test_vectors_and_rom_point_at_code() -> None:
    memory = Memory()
    firmware.install(memory, cpus=2, disks=1)
    view = memory.view
    for vector in range(256):
        offset, segment = struct.unpack_from("<HH", view, vector * 4)
        code = bytes(view[(segment << 4) + offset :][:32])
        assert 0xCF in code
        assert segment == 0xF000
        assert offset == USUAL.get(vector, offset)
    assert bytes(view[0xFFFF0:0xFFFF4]) == b"\xfa\xf4\xeb\xfd"
    assert view[0xFFFFE] == 0xFC
    assert view[0x475] == 1
    assert bytes(view[0x9FC00:0x9FC01]) == b"\x01"
    assert bytes(view[0x500:0x9FC00]) == b"\xaa" * (0x9FC00 - 0x500)
    assert bytes(view[0x100000:]) == b"\xaa" * (1 << 20)


def test_e820_without_and_with_holes() -> None:
    assert firmware.e820(64 << 20) == [
        E820(0, 0x9FC00, RAM),
        E820(0x9FC00, 0x400, RESERVED),
        E820(0xF0000, 0x10000, RESERVED),
        E820(0x100000, 63 << 20, RAM),
        E820(0xFFFC0000, 0x40000, RESERVED),
    ]
    with_holes = firmware.e820(64 << 20, [(48 << 20, 32 << 20), (16 << 20, 1 << 20)])
    assert [entry for entry in with_holes if entry.base >= 1 << 20][:-1] == [
        E820(1 << 20, 15 << 20),
        E820(17 << 20, 31 << 20),
    ]


@given(st.integers(2, 256), st.lists(st.tuples(st.integers(1, 300), st.integers(1, 40)), max_size=5))
def test_e820_is_sorted_disjoint_and_avoids_holes(mib: int, holes: list[tuple[int, int]]) -> None:
    entries = firmware.e820(mib << 20, [(base << 20, size << 20) for base, size in holes])
    for before, after in itertools.pairwise(entries):
        assert before.base + before.size <= after.base
    ram = {at for e in entries if e.kind == RAM and e.base for at in range(e.base >> 20, (e.base + e.size) >> 20)}
    missing = {at for base, size in holes for at in range(base, base + size)}
    assert ram == set(range(1, mib)) - missing


@pytest.mark.parametrize(("size", "low", "high"), [(16 << 20, 15 * 1024, 0), (64 << 20, 63 * 1024, 48 * 16)])
def test_devices_are_programmed_through_their_registers(size: int, low: int, high: int) -> None:
    ports: list[tuple[int, int]] = []
    pci: list[tuple[int, int]] = []
    mmio: dict[int, int] = {}

    def port_out(port: int, width: int, value: int) -> None:
        if 0xCF8 <= port <= 0xCFF:
            pci.append((port, value))
            return
        assert width == 1
        assert 0 <= value <= 0xFF
        ports.append((port, value))

    firmware.program(port_out, lambda address, width, value: mmio.update({address: value}), memory_size=size, cpus=4)
    assert [value for port, value in ports if port == 0x21] == [8, 4, 1, 0xB8]
    assert pci == [(0xCF8, 0x80000004), (0xCFC, 0x106)], "the host bridge: memory, bus master, SERR#"
    assert [value for port, value in ports if port == 0xA1] == [0x70, 2, 1, 0x8E]
    cmos = {ports[at][1]: ports[at + 1][1] for at in range(len(ports) - 1) if ports[at][0] == 0x70}
    assert cmos[0x17] | cmos[0x18] << 8 == min(low, 0xFFFF)
    assert cmos[0x34] | cmos[0x35] << 8 == high
    assert cmos[0x15] | cmos[0x16] << 8 == 640
    assert cmos[0x5F] == 3
    assert mmio == {0xFEE000F0: 0x1FF, 0xFEE00350: 0x8700, 0xFEE00360: 0x8400}
