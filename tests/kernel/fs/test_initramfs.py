# SPDX-License-Identifier: GPL-2.0-or-later
"""The initramfs: what the host packs is found by the kernel, and a broken archive is told from a missing file."""

from __future__ import annotations

import pytest

from guest_harness import guest
from kdumpsim import images

ENOENT, EIO = 2, 5


def find(archive: bytes, name: bytes) -> bytes | int:
    """A file's contents by the kernel's own search, or the negative errno."""
    machine = guest()
    machine.reset()
    data = machine.alloc(4)
    size = machine.call_i32("cpio_find", machine.alloc(archive, 4), len(archive), machine.string(name), data)
    return size if size < 0 else machine.read(machine.word(data), size)


def entry(name: bytes, data: bytes, *, namesize: int | None = None, filesize: int | None = None) -> bytes:
    """A file as buffer-format.txt has it, with sizes that may lie."""
    sizes = (len(data) if filesize is None else filesize), (len(name) + 1 if namesize is None else namesize)
    head = b"070701" + b"0" * 48 + b"%08x" % sizes[0] + b"0" * 32 + b"%08x" % sizes[1] + b"0" * 8 + name + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


END = entry(b"TRAILER!!!", b"")


def test_the_archive_of_every_kernel_holds_the_programs() -> None:
    archive = images.initramfs()
    for path in images.INITRAMFS_PROGRAMS:
        found = find(archive, path[1:].encode())
        assert isinstance(found, bytes)
        assert found.startswith(b"\x7fELF")
    assert find(archive, b"sbin/init") == -ENOENT


@pytest.mark.parametrize("sizes", [(0, 1, 2, 3), (3, 4, 5, 6)])
def test_names_and_data_of_any_length(sizes: tuple[int, ...]) -> None:
    files = {b"d/" + b"n" * (1 + size): bytes(range(size)) for size in sizes}
    archive = b"".join(entry(name, data) for name, data in files.items()) + END
    assert {name: find(archive, name) for name in files} == files


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"070702" + END[6:],
        entry(b"a", b"data"),
        entry(b"a", b"data", filesize=0xFFFFFFF0) + END,
        entry(b"a", b"data", filesize=0x7FFFFFFF) + END,
        entry(b"a", b"data", namesize=0) + END,
        entry(b"a", b"data", namesize=0xFFFFFFFE) + END,
        entry(b"a", b"data", namesize=3) + entry(b"b", b""),
        entry(b"a", b"data").replace(b"00000004", b"0000000g", 1) + END,
        (entry(b"a", b"data") + END)[:-16],
    ],
)
def test_a_broken_archive_is_not_believed(archive: bytes) -> None:
    assert find(archive, b"wanted") == -EIO
