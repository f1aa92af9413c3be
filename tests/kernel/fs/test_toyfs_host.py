# SPDX-License-Identifier: GPL-2.0-or-later
"""toyfs on the host: what mkfs puts on a disk comes back, and damage is noticed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdumpsim.board.disk import Disk
from kdumpsim.disks.toyfs import BLOCK_SIZE, Toyfs, ToyfsError, mkfs, read_file

SECTORS = 4096

names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=14).filter(
    lambda name: name not in (".", "..")
)
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
contents = st.one_of(st.binary(max_size=300), st.integers(0, 5 * BLOCK_SIZE).map(lambda n: bytes([n % 251]) * n))


def sound(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out files below other files."""
    return {p: d for p, d in files.items() if not any(o.startswith(p + "/") for o in files if o != p)}


@given(st.dictionaries(paths, contents, max_size=12).map(sound))
@settings(max_examples=60, deadline=None)
def test_round_trip(files: dict[str, bytes]) -> None:
    image = bytearray(SECTORS * 512)
    mkfs(image, SECTORS, files)
    fs = Toyfs(image)
    assert fs.files() == files
    assert fs.check() == []
    for path, data in files.items():
        assert fs.read_file(path) == data


def test_a_disk_is_as_good_as_bytes() -> None:
    disk = Disk.memory(SECTORS)
    mkfs(disk, SECTORS, {"/boot/vmlinux-kdump": b"\x7fELF" * 5000})
    assert read_file(disk, "/boot/vmlinux-kdump") == b"\x7fELF" * 5000
    assert not read_file(disk, "/boot/vmlinux-kdump").endswith(b"\0")


def test_bytes_and_disk_get_the_same_image() -> None:
    files = {"/a": b"x" * 5000, "/d/b": b"", "/d/e/c": bytes(range(256)) * 33}
    image = bytearray(SECTORS * 512)
    mkfs(image, SECTORS, files)
    disk = Disk.memory(SECTORS)
    mkfs(disk, SECTORS, files)
    assert disk.read(0, SECTORS) == image


@pytest.mark.parametrize("path", ["boot/x", "/", "", "/a/../b", "/" + "n" * 60])
def test_impossible_paths_are_refused(path: str) -> None:
    with pytest.raises(ToyfsError):
        mkfs(bytearray(SECTORS * 512), SECTORS, {path: b""})


def test_a_file_cannot_be_a_directory() -> None:
    with pytest.raises(ToyfsError):
        mkfs(bytearray(SECTORS * 512), SECTORS, {"/a": b"1", "/a/b": b"2"})


def test_too_small_a_disk_is_refused() -> None:
    with pytest.raises(ToyfsError, match="blocks"):
        mkfs(bytearray(64 * 512), 64, {"/big": bytes(20 * BLOCK_SIZE)})


def test_missing_files() -> None:
    image = bytearray(SECTORS * 512)
    mkfs(image, SECTORS, {"/d/f": b"1"})
    for path in ("/x", "/d/x", "/d/f/x"):
        with pytest.raises(FileNotFoundError):
            read_file(image, path)
    with pytest.raises(IsADirectoryError):
        read_file(image, "/d")


def test_no_toyfs() -> None:
    with pytest.raises(ToyfsError):
        Toyfs(bytes(SECTORS * 512))


def test_check_notices_a_block_that_is_free_in_the_bitmap() -> None:
    image = bytearray(SECTORS * 512)
    mkfs(image, SECTORS, {"/f": bytes(3 * BLOCK_SIZE)})
    image[BLOCK_SIZE : BLOCK_SIZE + 8] = bytes(8)
    assert any("free in the bitmap" in problem for problem in Toyfs(image).check())
