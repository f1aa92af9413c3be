# SPDX-License-Identifier: GPL-2.0-or-later
"""toyfs on the host: what mkfs puts on a disk comes back, and the referee notices damage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board.disk import Disk
from kdumpsim.disks.toyfs import BLOCK_SIZE, ToyfsError, mkfs
from properties import examples
from toyfs_reader import Damaged, Toyfs

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
@examples(60)
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
    assert Toyfs(disk).read_file("/boot/vmlinux-kdump") == b"\x7fELF" * 5000
    assert not Toyfs(disk).read_file("/boot/vmlinux-kdump").endswith(b"\0")


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
            Toyfs(image).read_file(path)
    with pytest.raises(IsADirectoryError):
        Toyfs(image).read_file("/d")


def test_no_toyfs() -> None:
    with pytest.raises(Damaged):
        Toyfs(bytes(SECTORS * 512))


def test_check_notices_a_block_that_is_free_in_the_bitmap() -> None:
    image = bytearray(SECTORS * 512)
    mkfs(image, SECTORS, {"/f": bytes(3 * BLOCK_SIZE)})
    image[BLOCK_SIZE : BLOCK_SIZE + 8] = bytes(8)
    assert any("free in the bitmap" in problem for problem in Toyfs(image).check())


@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from([0, 1, 2, 0xFFFF, 0xFFFFFFFF]) | st.integers(0, 2**32 - 1)))
)
def test_the_referee_reads_whatever_it_is_given(damage: list[tuple[int, int]]) -> None:
    image = bytearray(64 * BLOCK_SIZE)
    mkfs(image, 64 * 8, {"/d/e/f": b"1" * 5000, "/g": b"2"})
    inode, root = 2 * BLOCK_SIZE + 128, 6 * BLOCK_SIZE
    for place, value in damage:  # in the superblock, the inodes, the root directory
        at = 4 * place if place < 10 else inode + 16 * (place - 10) if place < 36 else root + 16 * (place - 36)
        image[at : at + 4] = value.to_bytes(4, "little")
    try:
        fs = Toyfs(image)
        fs.check()
        fs.files()
        fs.read_file("/d/e/f")
    except (Damaged, FileNotFoundError, IsADirectoryError):
        pass


def test_the_referee_notices_a_directory_in_itself() -> None:
    image = bytearray(64 * BLOCK_SIZE)
    mkfs(image, 64 * 8, {"/d/f": b"1"})
    entry = image.index(b"f\0", 6 * BLOCK_SIZE) - 4
    image[entry : entry + 4] = (2).to_bytes(4, "little")
    with pytest.raises(Damaged, match="inode 2 is in two places"):
        Toyfs(image).files()
