# SPDX-License-Identifier: GPL-2.0-or-later
"""A dump counts only when its header, written last, is whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board.disk import SECTOR, Disk
from kdumpsim.disks.dumpdisk import DATA_OFFSET, DumpHeader, extract, find_dump, format_header, parse_header


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
    digest = extract(disk, header, tmp_path / "vmcore")
    assert (tmp_path / "vmcore").read_bytes() == dump
    assert digest == hashlib.sha256(dump).hexdigest()


def test_an_interrupted_extraction_leaves_nothing(tmp_path: Path) -> None:
    disk = _disk_with(bytes(4 << 20))
    header = find_dump(disk)
    assert header is not None

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(disk, header, tmp_path / "vmcore", interrupt)
    assert list(tmp_path.iterdir()) == []
