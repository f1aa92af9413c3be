# SPDX-License-Identifier: GPL-2.0-or-later
"""A dump counts only when its header, written last, is whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdumpsim.board.disk import SECTOR, Disk
from kdumpsim.disks.dumpdisk import (
    DATA_OFFSET,
    DumpHeader,
    DumpOnDisk,
    digest,
    extract,
    find_dump,
    format_header,
    parse_header,
)


def _disk_with(dump: bytes) -> Disk:
    disk = Disk.memory(64 + DATA_OFFSET // SECTOR + len(dump) // SECTOR)
    padded = dump.ljust(-(-len(dump) // SECTOR) * SECTOR, b"\0")
    disk.write(DATA_OFFSET // SECTOR, padded)
    disk.write(0, format_header(len(dump)))
    return disk


@given(st.integers(1, 1 << 48))
def test_a_header_reads_as_it_was_written(size: int) -> None:
    assert parse_header(format_header(size)) == DumpHeader(size, DATA_OFFSET // SECTOR)


@given(st.integers(0, SECTOR - 1), st.integers(1, 255))
def test_a_header_with_one_wrong_byte_is_no_header(where: int, flip: int) -> None:
    sector = bytearray(format_header(12345))
    sector[where] ^= flip
    assert parse_header(bytes(sector)) is None


def test_an_empty_disk_holds_no_dump() -> None:
    assert find_dump(Disk.memory(64)) is None


def test_a_header_that_points_outside_the_disk_holds_no_dump() -> None:
    disk = Disk.memory(64)
    disk.write(0, format_header(1 << 30))
    assert find_dump(disk) is None


def test_extracting_gives_the_bytes_and_their_digest(tmp_path: Path) -> None:
    dump = b"\x7fELF" + bytes(3 << 20) + b"the end, not on a sector's edge"
    disk = _disk_with(dump)
    header = find_dump(disk)
    assert header is not None
    extract(disk, header, tmp_path / "vmcore")
    assert (tmp_path / "vmcore").read_bytes() == dump
    assert digest(disk, header) == hashlib.sha256(dump).hexdigest()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 3 * 4096), st.lists(st.tuples(st.integers(0, 64 * 4096), st.binary(min_size=1, max_size=5000))))
def test_a_dump_on_the_disk_reads_as_its_copy_does(lead: int, parts: list[tuple[int, bytes]]) -> None:
    dump = bytearray(80 * 4096 + lead)
    for at, data in parts:
        dump[at : at + len(data)] = data
    disk = _disk_with(bytes(dump))
    header = find_dump(disk)
    assert header is not None
    storage = DumpOnDisk(disk, header)
    stored = bytearray(len(dump))
    for start, end in storage.extents():
        stored[start:end] = storage.read(start, end - start)
    assert stored == dump
    assert storage.read(len(dump) - 3, 10) == dump[-3:]
    assert storage.read(len(dump), 10) == b""
    for at, data in parts[:5]:
        assert storage.read(at, len(data)) == dump[at : at + len(data)]


def test_an_interrupted_extraction_leaves_nothing(tmp_path: Path) -> None:
    disk = _disk_with(bytes(4 << 20))
    header = find_dump(disk)
    assert header is not None

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(disk, header, tmp_path / "vmcore", interrupt)
    assert list(tmp_path.iterdir()) == []
