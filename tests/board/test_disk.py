# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board.disk import SECTOR, Disk, DiskError


def sector(value: int) -> bytes:
    return bytes([value]) * SECTOR


def test_memory_disk_is_zero_and_sparse() -> None:
    disk = Disk.memory(1 << 31)  # a terabyte
    assert disk.size == 1 << 40
    assert disk.read((1 << 31) - 3, 3) == bytes(3 * SECTOR)
    disk.write((1 << 31) - 1, sector(7))
    assert disk.read((1 << 31) - 2, 2) == bytes(SECTOR) + sector(7)
    disk.write(1000, bytes(64 * SECTOR))
    assert len(disk.state()["chunks"]) == 1


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20), st.integers(0, 3)), max_size=12), st.integers(0, 12))
def test_disk_agrees_with_an_array(writes: list[tuple[int, int, int]], cut: int) -> None:
    disk, array = Disk.memory(80), bytearray(80 * SECTOR)
    saved, then = disk.state(), bytes(array)
    for number, (lba, count, value) in enumerate(writes):
        disk.write(lba, sector(value) * count)
        array[lba * SECTOR : (lba + count) * SECTOR] = sector(value) * count
        if number == cut:
            saved, then = disk.state(), bytes(array)
    assert disk.read(0, 80) == array
    for lba, count, _ in writes:
        assert disk.read(lba, count) == array[lba * SECTOR : (lba + count) * SECTOR]
    disk.restore(saved)
    assert disk.read(0, 80) == then


def test_file_is_written_through_and_restored(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(sector(1) * 20 + b"tail")
    disk = Disk.file(path)
    assert disk.sectors == 21
    assert disk.read(20, 1) == b"tail".ljust(SECTOR, b"\0")
    disk.write(3, sector(9))
    assert path.read_bytes()[3 * SECTOR :][:SECTOR] == sector(9)
    saved, digest = disk.state(), disk.digest()
    disk.write(2, sector(5) * 10)
    changed = disk.state()
    disk.write(19, sector(6))
    disk.restore(saved)
    assert disk.digest() == digest
    assert path.read_bytes() == disk.read(0, 21)
    disk.restore(changed)
    assert disk.read(2, 10) == sector(5) * 10
    assert disk.read(19, 1) == sector(1)


def test_read_only_file_is_never_changed(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(sector(1) * 16)
    disk = Disk.file(path, readonly=True)
    disk.write(3, sector(9) * 8)
    assert disk.read(2, 3) == sector(1) + sector(9) * 2
    copy = disk.clone()
    copy.write(0, bytes(SECTOR))
    assert disk.read(0, 1) == sector(1)
    assert copy.read(0, 4) == bytes(SECTOR) + sector(1) * 2 + sector(9)
    assert path.read_bytes() == sector(1) * 16


def test_zeros_over_a_read_only_file(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(sector(1) * 16)
    disk = Disk.file(path, readonly=True)
    disk.write(0, bytes(16 * SECTOR))
    assert disk.read(0, 16) == bytes(16 * SECTOR)


def test_errors_name_the_disk(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"none\.img"):
        Disk.file(tmp_path / "none.img")
    (tmp_path / "empty.img").touch()
    with pytest.raises(DiskError, match="empty"):
        Disk.file(tmp_path / "empty.img")
    with pytest.raises(DiskError, match="at least one"):
        Disk.memory(0)
    disk = Disk.memory(8)
    for lba, count in ((8, 1), (7, 2), (-1, 1), (0, 0)):
        with pytest.raises(DiskError, match="not on a disk"):
            disk.read(lba, count)
    with pytest.raises(DiskError, match="whole sectors"):
        disk.write(0, b"x")
    with pytest.raises(DiskError, match="not on a disk"):
        disk.write(7, bytes(1024))


@pytest.mark.parametrize("readonly", [False, True])
def test_what_cannot_be_a_disk_is_refused_without_waiting(tmp_path: Path, readonly: bool) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(DiskError, match=r"cannot be used as a disk image|Is a directory"):
            Disk.file(path, readonly=readonly)
