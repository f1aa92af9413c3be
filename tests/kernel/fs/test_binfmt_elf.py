# SPDX-License-Identifier: GPL-2.0-or-later
"""The ELF loader's checks, compiled: programs pass, and whatever else a file may hold is refused, never believed."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest_harness import guest
from kdumpsim import images

ENOEXEC = 8
EHDR, PHDR = "<16sHHIIIIIHHHHHH", "<8I"


def check(data: bytes) -> int:
    machine = guest()
    machine.reset()
    return machine.call_i32("elf_check", machine.alloc(data), len(data))


def page(path: str = "/bin/hello") -> bytearray:
    return bytearray(images.userland()[path][:4096])


def changed(offset: int, fmt: str, value: int) -> bytes:
    data = page()
    struct.pack_into(fmt, data, offset, value)
    return bytes(data)


@pytest.mark.parametrize("path", sorted(images.USER_PROGRAMS))
def test_our_programs_are_taken(path: str) -> None:
    assert check(bytes(page(path))) == 0


@pytest.mark.parametrize(
    ("offset", "fmt", "value"),
    [
        (0, "<I", 0x7F454C46), (4, "<B", 2), (5, "<B", 2), (6, "<B", 0),     # magic, class, byte order, version
        (16, "<H", 1), (16, "<H", 3), (18, "<H", 62), (20, "<I", 2),         # type, machine, version
        (24, "<I", 0), (24, "<I", 0xC0100000),                               # entry
        (28, "<I", 4096), (28, "<I", 0xFFFFFFF0),                            # program headers out of place
        (42, "<H", 56), (44, "<H", 0), (44, "<H", 17), (44, "<H", 0xFFFF),   # their size and number
        (52 + 8, "<I", 0xC0000000), (52 + 8, "<I", 0), (52 + 8, "<I", 0xBFFFF000), (52 + 8, "<I", 0x08048001),
        (52 + 16, "<I", 0xFFFFFFFF), (52 + 20, "<I", 0), (52 + 20, "<I", 0xFFFFFFFF), (52 + 4, "<I", 0xFFFFF000),
        (52 + 32 + 8, "<I", 0x08048000), (52 + 32 + 8, "<I", 0x08000000),    # over, and before, the first segment
        (52 + 24, "<I", 4),                                                  # the entry in a segment without X
    ],
)  # fmt: skip
def test_a_file_that_lies_is_refused(offset: int, fmt: str, value: int) -> None:
    assert check(changed(offset, fmt, value)) == -ENOEXEC


@pytest.mark.parametrize("size", [0, 1, 16, 51, 52, 83])
def test_a_file_cut_off_is_refused(size: int) -> None:
    assert check(bytes(page()[:size])) == -ENOEXEC


@given(st.lists(st.tuples(st.integers(0, 160), st.integers(0, 255)), max_size=6))
def test_what_is_taken_lies_below_the_kernel_and_in_order(changes: list[tuple[int, int]]) -> None:
    data = page()
    for offset, value in changes:
        data[offset] = value
    if check(bytes(data)) != 0:
        return
    _, _, _, _, entry, phoff, _, _, _, _, phnum, _, _, _ = struct.unpack_from(EHDR, data)
    end, entered = 0x1000, False
    for index in range(phnum):
        kind, _, vaddr, _, filesz, memsz, flags, _ = struct.unpack_from(PHDR, data, phoff + 32 * index)
        if kind == 1:
            assert end <= vaddr & ~0xFFF
            assert filesz <= memsz
            end = (vaddr + memsz + 0xFFF) & ~0xFFF
            assert end < 0xC0000000
            entered |= bool(flags & 1) and vaddr <= entry < vaddr + filesz
    assert entered
