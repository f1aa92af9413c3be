# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board.disk import Disk
from kdumpsim.board.idechannel import RESET_NS, SECTOR_NS, SEEK_NS
from properties import examples

from ide_bench import Bench, pattern  # isort: skip

TABLE = 0x1000


def disk_with(data: bytes, sectors: int = 4096) -> Disk:
    disk = Disk.memory(sectors)
    disk.write(0, data)
    return disk


@pytest.fixture
def bench() -> Bench:
    return Bench([disk_with(pattern(512))])


def test_identify(bench: Bench) -> None:
    bench.command(0xEC)
    assert bench.alternate & 0x80
    assert bench.wait() == 0x58
    assert bench.raised[14] == 1
    data = bench.read_block()
    assert bench.alternate == 0x50
    words = struct.unpack("<256H", data)
    assert data[54:94:2] + data[55:94:2]  # both bytes of every word are there
    model = b"".join(struct.pack(">H", word) for word in words[27:47])
    assert model.strip() == b"KDUMPSIM HARDDISK"
    assert words[60] | words[61] << 16 == 4096
    assert words[100] | words[101] << 16 == 4096
    assert words[49] & 0x300 == 0x300
    assert words[83] & 0x0400
    assert sum(data) & 0xFF == 0
    assert data[510] == 0xA5


def test_signature_and_absent_drives() -> None:
    bench = Bench([Disk.memory(64)])
    assert [bench.inb(register) for register in range(1, 8)] == [1, 1, 1, 0, 0, 0xA0, 0x50]
    bench.outb(6, 0xB0)
    assert bench.inb(7) == 0
    bench.outb(7, 0xEC)
    bench.timers.advance(10**9)
    assert bench.inb(7) == 0
    assert bench.raised[14] == 0
    bench.outb(6, 0xA0)
    assert bench.inb(7) == 0x50
    bench.secondary()
    assert bench.inb(7) == 0
    bench.command(0xEC)
    bench.timers.advance(10**9)
    assert bench.inb(7) == 0


def task_file(bench: Bench) -> list[int]:
    return [bench.inb(register) for register in range(1, 8)]


def test_a_lone_master_answers_for_the_slave_but_has_no_status_and_no_error_for_it() -> None:
    """ATA/ATAPI-6, 9.16.1: both drives take task file writes; with the absent one selected, status reads as 00h."""
    bench = Bench([Disk.memory(64)])
    for register, value in ((2, 0x55), (3, 0xAA), (4, 0x12), (5, 0x34), (6, 0xB3)):
        bench.outb(register, value)
    assert task_file(bench) == [0, 0x55, 0xAA, 0x12, 0x34, 0xB3, 0]
    bench.outb(6, 0xA3)
    assert task_file(bench) == [1, 0x55, 0xAA, 0x12, 0x34, 0xA3, 0x50]


@pytest.mark.parametrize("device", [0xA0, 0xB0])
def test_an_empty_channel_reads_as_zeros(device: int) -> None:
    bench = Bench([Disk.memory(64)])
    bench.secondary()
    for register, value in ((2, 0x55), (3, 0xAA), (4, 0x12), (5, 0x34), (6, device)):
        bench.outb(register, value)
    assert task_file(bench) == [0] * 7


def test_reset_and_diagnostics_bring_no_absent_drive_into_being() -> None:
    bench = Bench([Disk.memory(64)])
    for begin in (lambda: bench.outb(7, 0x90), lambda: bench.ide.port_write(bench.control, 1, 4)):
        bench.outb(6, 0xB0)
        begin()
        assert bench.inb(7) == bench.alternate == 0
        bench.ide.port_write(bench.control, 1, 0)
        bench.timers.advance(10**9)
        bench.outb(6, 0xB0)
        assert (bench.inb(1), bench.inb(7)) == (0, 0)
        bench.outb(6, 0xA0)
        assert (bench.inb(1), bench.inb(7)) == (1, 0x50)


def test_master_and_slave_on_both_channels() -> None:
    disks = [disk_with(pattern(8, seed)) for seed in range(4)]
    for number, disk in enumerate(disks):
        bench = Bench(disks)
        if number >= 2:
            bench.secondary()
        bench.command(0x20, 5, 1, slave=bool(number & 1))
        assert bench.wait() == 0x58
        assert bench.read_block() == disk.read(5, 1)
        assert bench.raised[bench.irq] == 1


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize(("code", "ext"), [(0x20, False), (0x21, False), (0x24, True)])
def test_read_sectors(bench: Bench, width: int, code: int, ext: bool) -> None:
    bench.command(code, 10, 3, ext=ext)
    got = b""
    for left in (2, 1, 0):
        assert bench.wait() == 0x58
        assert not bench.lines[14]
        got += bench.read_block(width=width)
        assert bench.alternate == (0xD0 if left else 0x50)
    assert got == bench.ide.disks[0].read(10, 3)  # type: ignore[union-attr]
    bench.timers.advance(10**9)
    assert bench.raised[14] == 3


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize(("code", "ext"), [(0x30, False), (0x31, False), (0x34, True)])
def test_write_sectors(bench: Bench, width: int, code: int, ext: bool) -> None:
    data = pattern(3, 99)
    bench.command(code, 100, 3, ext=ext)
    assert bench.wait() == 0x58
    assert bench.raised[14] == 0
    for block in range(3):
        bench.write_block(data[block * 512 : block * 512 + 512], width)
        assert bench.alternate & 0x80
        assert bench.wait() == (0x58 if block < 2 else 0x50)
        assert bench.raised[14] == block + 1
    assert bench.ide.disks[0].read(100, 3) == data  # type: ignore[union-attr]


def test_chs_addresses(bench: Bench) -> None:
    bench.outb(6, 0xA0 | 2)  # head 2
    for register, value in ((2, 1), (3, 7), (4, 0), (5, 0), (7, 0x20)):
        bench.outb(register, value)
    bench.wait()
    assert bench.read_block() == pattern(512)[(2 * 63 + 6) * 512 :][:512]
    bench.outb(3, 0)
    bench.outb(7, 0x20)
    assert bench.wait() == 0x51
    assert bench.inb(1) == 0x10
    bench.outb(2, 8)  # INITIALIZE DEVICE PARAMETERS: 8 sectors a track, 2 heads
    bench.outb(6, 0xA1)
    bench.outb(7, 0x91)
    assert bench.wait() == 0x50
    for register, value in ((2, 1), (3, 3), (4, 5), (5, 0), (6, 0xA1), (7, 0x20)):
        bench.outb(register, value)
    bench.wait()
    assert bench.read_block() == pattern(512)[((5 * 2 + 1) * 8 + 2) * 512 :][:512]


def test_multiple(bench: Bench) -> None:
    disk = bench.ide.disks[0]
    assert disk is not None
    bench.outb(2, 4)
    bench.outb(7, 0xC6)
    assert bench.wait() == 0x50
    bench.command(0xC4, 20, 10)
    got = b""
    for count in (4, 4, 2):
        assert bench.wait() == 0x58
        got += bench.read_block(512 * count)
    assert got == disk.read(20, 10)
    assert bench.alternate == 0x50
    bench.command(0x39, 200, 6, ext=True)
    data = pattern(6, 3)
    assert bench.wait() == 0x58
    bench.write_block(data[:2048], 4)
    assert bench.wait() == 0x58
    bench.write_block(data[2048:], 4)
    assert bench.wait() == 0x50
    assert disk.read(200, 6) == data
    assert bench.raised[14] == 1 + 3 + 2
    for count, status in ((3, 0x51), (32, 0x51), (0, 0x50)):
        bench.outb(2, count)
        bench.outb(7, 0xC6)
        assert bench.wait() == status
    bench.command(0xC4, 0, 1)
    assert bench.wait() == 0x51
    assert bench.inb(1) == 0x04


@pytest.mark.parametrize("code", [0x00, 0x08, 0xA1, 0xB0, 0xA0, 0xF9, 0xFF])
def test_unknown_commands_abort(bench: Bench, code: int) -> None:
    bench.outb(7, code)
    assert bench.wait() == 0x51
    assert bench.inb(1) == 0x04
    assert bench.raised[14] == 1
    bench.outb(7, 0xE5)
    assert bench.wait() == 0x50
    assert (bench.inb(1), bench.inb(2)) == (0, 0xFF)


@pytest.mark.parametrize("code", [0x10, 0x40, 0x42, 0x70, 0xE0, 0xE1, 0xE2, 0xE3, 0xE7, 0xEA])
def test_commands_without_data(bench: Bench, code: int) -> None:
    bench.command(code, 0, 1, ext=code == 0x42)
    assert bench.alternate & 0x80
    assert bench.wait() == 0x50
    assert bench.raised[14] == 1
    assert not bench.lines[14]


_ACCEPTED = [(3, 0x0C), (3, 0x22), (3, 0x45), (2, 0)]
_REFUSED = [(3, 0x46), (3, 0x10), (0x77, 0)]


@pytest.mark.parametrize(("feature", "count"), [*_ACCEPTED, *_REFUSED])
def test_set_features(bench: Bench, feature: int, count: int) -> None:
    bench.outb(1, feature)
    bench.outb(2, count)
    bench.outb(7, 0xEF)
    assert bench.wait() == (0x50 if (feature, count) in _ACCEPTED else 0x51)
    bench.command(0xEC)
    bench.wait()
    words = struct.unpack("<256H", bench.read_block())
    chosen = (words[63] >> 8, words[88] >> 8)
    assert chosen == ((0x04, 0) if count == 0x22 else (0, 0x20))


def test_native_max_and_lba48_beyond_28_bits() -> None:
    disk = Disk.memory((1 << 28) + 100)
    disk.write((1 << 28) + 50, b"\x42" * 512)
    bench = Bench([disk])
    bench.command(0x24, (1 << 28) + 50, 1, ext=True)
    assert bench.wait() == 0x58
    assert bench.read_block() == b"\x42" * 512
    bench.command(0x27, ext=True)
    bench.wait()
    low = [bench.inb(register) for register in (3, 4, 5)]
    bench.ide.port_write(0x3F6, 1, 0x80)
    high = [bench.inb(register) for register in (3, 4, 5)]
    assert int.from_bytes(bytes(low + high), "little") == disk.sectors - 1
    bench.command(0xF8)
    bench.wait()
    assert [bench.inb(register) for register in (3, 4, 5)] == [0xFE, 0xFF, 0xFF]
    assert bench.inb(6) & 0x0F == 0x0F


@pytest.mark.parametrize("code", [0x20, 0x30, 0xC4, 0xC8, 0xCA, 0x40])
def test_beyond_the_end(bench: Bench, code: int) -> None:
    bench.command(code, 4095, 2)
    assert bench.wait() == 0x51
    assert bench.inb(1) == 0x10
    assert bench.raised[14] == 1


def test_interrupt_is_cleared_by_status_and_masked_by_nien(bench: Bench) -> None:
    bench.outb(7, 0xE7)
    bench.timers.advance(10**6)
    assert bench.lines[14]
    assert bench.alternate == 0x50
    assert bench.lines[14]
    assert bench.inb(7) == 0x50
    assert not bench.lines[14]
    bench.ide.port_write(0x3F6, 1, 0x02)
    bench.outb(7, 0xE7)
    bench.timers.advance(10**6)
    assert not bench.lines[14]
    assert not bench.master_status & 4 or bench.raised[14] == 1
    bench.ide.port_write(0x3F6, 1, 0)
    assert bench.lines[14]
    bench.outb(7, 0xE7)
    assert not bench.lines[14]


def test_busy_drive_ignores_writes(bench: Bench) -> None:
    bench.command(0x20, 10, 1)
    bench.outb(3, 77)
    bench.outb(6, 0xB0)
    bench.outb(7, 0xEC)
    assert bench.wait() == 0x58
    assert bench.read_block() == pattern(512)[5120:5632]


def test_software_reset(bench: Bench) -> None:
    bench.command(0x20, 10, 5)
    bench.wait()
    bench.ide.port_write(0x3F6, 1, 0x04)
    assert bench.alternate == 0x80
    bench.timers.advance(10**7)
    assert bench.alternate == 0x80
    bench.ide.port_write(0x3F6, 1, 0x00)
    bench.timers.advance(RESET_NS // 2)
    assert bench.alternate == 0x80
    bench.timers.advance(RESET_NS)
    assert [bench.inb(register) for register in range(1, 8)] == [1, 1, 1, 0, 0, 0xA0, 0x50]
    assert bench.ide.port_read(0x1F0, 2) == 0
    assert not bench.lines[14]


def test_execute_device_diagnostic() -> None:
    bench = Bench([Disk.memory(64), Disk.memory(64)])
    bench.outb(6, 0xB0)
    bench.outb(7, 0x90)
    assert bench.alternate & 0x80
    assert bench.wait() == 0x50
    assert bench.raised[14] == 1
    assert bench.inb(1) == 1
    assert bench.inb(6) == 0xA0


def test_dma_read_takes_its_time_in_chunks(bench: Bench) -> None:
    memory = bench.memory
    memory.descriptors(TABLE, (0x10000, 0), (0x20000, 0))  # twice 64 KiB
    bench.dma(0xC8, 0, 0, TABLE, to_memory=True)
    assert bench.master_status & 0x07 == 0x01
    bench.timers.advance(SEEK_NS + 64 * SECTOR_NS - 1)
    assert not any(memory.data[0x10000:0x30000])
    bench.timers.advance(1)
    assert memory.data[0x10000:0x18000] == pattern(64)
    assert not any(memory.data[0x18000:0x30000])
    assert bench.alternate & 0x80
    bench.timers.advance(10**8)
    assert memory.data[0x10000:0x30000] == pattern(256)
    assert bench.timers.events == 4
    assert bench.master_status & 0x07 == 0x04
    assert bench.lines[14]
    assert bench.inb(7) == 0x50
    bench.ide.port_write(0xC002, 1, 0x04)
    bench.ide.port_write(0xC000, 1, 0)
    assert bench.master_status == 0


@pytest.mark.parametrize(("code", "ext"), [(0xCA, False), (0xCB, False), (0x35, True)])
def test_dma_write(bench: Bench, code: int, ext: bool) -> None:
    data = pattern(300, 5)
    bench.memory.data[0x20002 : 0x20002 + 1000] = data[:1000]
    bench.memory.data[0x40000 : 0x40000 + len(data) - 1000] = data[1000:]
    bench.memory.descriptors(TABLE, (0x20002, 1000), (0x40000, 0), (0x50000, 0), (0x60000, len(data) - 1000 - 0x20000))
    bench.dma(code, 64, 300 if ext else 300 & 0xFF, TABLE, to_memory=False, ext=ext)
    assert bench.wait() == 0x50
    count = 300 if ext else 44
    assert bench.ide.disks[0].read(64, count) == data[: count * 512]  # type: ignore[union-attr]
    assert bench.master_status & 0x07 == (0x04 if ext else 0x05)


def test_dma_started_before_the_command(bench: Bench) -> None:
    bench.memory.descriptors(TABLE, (0x10000, 512))
    bench.ide.port_write(0xC004, 4, TABLE)
    bench.ide.port_write(0xC000, 1, 9)
    bench.timers.advance(10**6)
    bench.command(0xC8, 7, 1)
    assert bench.wait() == 0x50
    assert bench.memory.data[0x10000:0x10200] == pattern(512)[7 * 512 : 8 * 512]


@pytest.mark.parametrize("how", ["stop", "srst", "master", "reset"])
def test_dma_in_flight_can_be_stopped(bench: Bench, how: str) -> None:
    memory = bench.memory
    memory.descriptors(TABLE, (0x10000, 0), (0x20000, 0))
    bench.dma(0xC8, 0, 0, TABLE, to_memory=True)
    bench.timers.advance(SEEK_NS + 64 * SECTOR_NS + 1000)
    if how == "stop":
        bench.ide.port_write(0xC000, 1, 8)
        assert not bench.master_status & 1
        assert bench.alternate == 0x58
    elif how == "srst":
        bench.ide.port_write(0x3F6, 1, 4)
    elif how == "master":
        bench.ide.pci.write(4, 2, 1)
    else:
        bench.ide.reset()
    bench.timers.advance(10**9)
    assert memory.data[0x10000:0x18000] == pattern(64)
    assert not any(memory.data[0x18000:0x30000])
    assert not bench.lines[14]
    if how == "master":
        bench.ide.pci.write(4, 2, 5)
        assert bench.wait() == 0x50
        assert memory.data[0x10000:0x30000] == pattern(256)


def test_dma_goes_on_without_anybody_looking(bench: Bench) -> None:
    """What a dying kernel leaves behind: the write into its memory happens all the same."""
    bench.memory.descriptors(TABLE, (0x10000, 0x8000), (0x30000, 0x8000))
    bench.dma(0xC8, 0, 128, TABLE, to_memory=True)
    bench.ide.port_write(0x3F6, 1, 2)
    bench.timers.advance(10**8)
    assert bench.memory.data[0x30000:0x38000] == pattern(128)[0x8000:]
    assert not bench.lines[14]


def test_wrong_direction_moves_nothing(bench: Bench) -> None:
    bench.memory.descriptors(TABLE, (0x10000, 0x8000))
    bench.dma(0xC8, 0, 64, TABLE, to_memory=False)
    bench.timers.advance(10**8)
    assert bench.master_status & 0x05 == 0x01
    assert not any(bench.memory.data[0x10000:0x18000])


def test_short_table_waits_for_more(bench: Bench) -> None:
    bench.memory.descriptors(TABLE, (0x10000, 1000))
    bench.dma(0xC8, 0, 4, TABLE, to_memory=True)
    bench.timers.advance(10**8)
    assert bench.master_status & 0x05 == 0x00
    assert bench.alternate == 0x58
    assert bench.memory.data[0x10000 : 0x10000 + 1000] == pattern(4)[:1000]
    bench.memory.descriptors(TABLE, (0x20000, 2048 - 1000))
    bench.ide.port_write(0xC000, 1, 8)
    bench.ide.port_write(0xC000, 1, 9)
    assert bench.wait() == 0x50
    assert bench.memory.data[0x20000 : 0x20000 + 1048] == pattern(4)[1000:]


def test_long_table_leaves_the_engine_active(bench: Bench) -> None:
    bench.memory.descriptors(TABLE, (0x10000, 4096))
    bench.dma(0xC8, 0, 4, TABLE, to_memory=True)
    assert bench.wait() == 0x50
    assert bench.master_status & 0x05 == 0x05


def test_table_outside_memory_is_survived(bench: Bench) -> None:
    bench.dma(0xC8, 0, 4, 0xFFFFFFF0, to_memory=True)
    bench.timers.advance(10**8)
    bench.dma(0xCA, 0, 4, 0xF0000000, to_memory=False)
    bench.timers.advance(10**8)


def test_moving_the_bus_master_registers(bench: Bench) -> None:
    remapped = []
    bench.ide.on_remap = lambda: remapped.append(bench.ide.ports())
    bench.ide.pci.write(0x20, 4, 0xD001)
    assert remapped[0][-1] == (0xD000, 16)
    bench.ide.port_write(0xD004, 4, 0x12345678)
    assert bench.ide.port_read(0xD004, 4) == 0x12345678
    assert bench.ide.port_read(0xC004, 4) == 0xFFFFFFFF
    bench.ide.pci.write(4, 2, 4)
    assert len(remapped[1]) == 4
    assert bench.ide.port_read(0x1F7, 1) == 0xFF


def test_files_are_disks_too(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(pattern(16))
    bench = Bench([Disk.file(path)])
    bench.command(0x30, 3, 1)
    bench.wait()
    bench.write_block(b"\x5a" * 512)
    bench.wait()
    assert path.read_bytes()[3 * 512 : 4 * 512] == b"\x5a" * 512


@examples(40)
@given(st.integers(0, 3_000_000), st.sampled_from(["dma_in", "dma_out", "pio_in", "pio_out"]))
def test_snapshot_in_mid_command_goes_on_the_same(ns: int, kind: str) -> None:
    def start() -> Bench:
        bench = Bench([disk_with(pattern(300))])
        bench.memory.data[0x40000:0x60000] = pattern(256, 1)
        bench.memory.descriptors(TABLE, (0x40000, 0x8002), (0x50000, 0x17FFE & 0xFFFE), (0x70000, 0))
        if kind.startswith("dma"):
            code, inward = (0xC8, True) if kind == "dma_in" else (0xCA, False)
            bench.dma(code, 3, 200, TABLE, to_memory=inward)
        else:
            bench.command(0x20 if kind == "pio_in" else 0x30, 9, 4)
            if bench.wait() & 8 and kind == "pio_in":
                bench.read_block(100)
            else:
                bench.write_block(b"\x77" * 512)
        return bench

    one, other = start(), Bench([disk_with(pattern(300))])
    one.timers.advance(ns)
    other.timers.now = one.timers.now
    other.memory.data[:] = one.memory.data
    disk, copy = one.ide.disks[0], other.ide.disks[0]
    assert disk is not None
    assert copy is not None
    other.ide.restore(one.ide.state())
    for timer, copied in zip(one.timers.timers, other.timers.timers, strict=True):
        copied.deadline = timer.deadline
    one.timers.advance(10**8)
    other.timers.advance(10**8)
    assert one.ide.state() == other.ide.state()
    assert one.memory.data == other.memory.data
    assert disk.digest() == copy.digest()


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 70000)), min_size=1, max_size=6), st.integers(1, 400))
def test_descriptor_walk_agrees_with_a_model(regions: list[tuple[int, int]], sectors: int) -> None:
    """Regions in any order, odd sizes and addresses rounded down, overlapping ones included."""
    bench = Bench([disk_with(pattern(512))])
    expected = bytearray(bench.memory.data)
    bench.memory.descriptors(TABLE, *((0x20000 + base * 1023, size) for base, size in regions))
    data, at = pattern(sectors), 0
    expected[:] = bench.memory.data
    for base, size in regions:
        begin = 0x20000 + base * 1023 & ~1
        length = size & 0xFFFE or 0x10000
        piece = data[at : at + length]
        expected[begin : begin + len(piece)] = piece
        at += length
    bench.dma(0x25, 0, sectors, TABLE, to_memory=True, ext=True)
    bench.timers.advance(10**9)
    assert bench.memory.data == expected
    done = at >= len(data)
    assert bench.alternate == (0x50 if done else 0x58)
    assert bench.lines[14] == done
    total = sum(size & 0xFFFE or 0x10000 for _, size in regions)
    assert bool(bench.master_status & 1) == (len(data) < total)


PORTS = [*range(0x1F0, 0x1F8), 0x3F6, *range(0xC000, 0xC008)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(PORTS), st.sampled_from([1, 2, 4]), st.integers(0, 0xFFFFFFFF), st.integers(0, 400_000)
        ),
        max_size=60,
    )
)
def test_no_sequence_of_accesses_breaks_it(accesses: list[tuple[int, int, int, int]]) -> None:
    bench = Bench([disk_with(pattern(16), 64), None])
    for port, size, value, ns in accesses:
        bench.ide.port_write(port, size, value & (1 << 8 * size) - 1)
        bench.timers.advance(ns)
        assert 0 <= bench.ide.port_read(port, size) < 1 << 8 * size
    bench.ide.reset()
    assert [bench.inb(register) for register in range(1, 8)] == [1, 1, 1, 0, 0, 0xA0, 0x50]
