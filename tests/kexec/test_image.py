# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of kernel files."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.agent.segments import FileData
from kdumpsim.kexec.errors import KexecError
from kdumpsim.kexec.image import load_image
from kdumpsim.kexec.segments import Range

from .builders import vmlinux


def test_a_vmlinux() -> None:
    image = load_image(vmlinux())
    assert image.entry == 0x1000000
    assert image.extent == Range(0x1000000, 0x1005000)
    text, data = image.segments()
    assert (text.mem, text.memsz, text.data) == (0x1000000, 0x2000, b"\x90" * 5000)
    assert (data.mem, data.memsz, data.data) == (0x1002000, 0x3000, b"data")


def test_a_relocatable_kernel_goes_to_the_lowest_place_that_its_alignment_allows() -> None:
    """ET_DYN, as kexec-tools take it; any other kernel stays where it is linked."""
    free = [Range(0x2001000, 0x2005000), Range(0x3000800, 0x4000000)]
    moved = load_image(vmlinux(kind=3)).placed(free)
    assert (moved.entry, moved.extent) == (0x3001000, Range(0x3001000, 0x3006000))
    assert [(s.mem, s.bufsz) for s in moved.segments("/boot/k")] == [(0x3001000, 5000), (0x3003000, 4)]
    assert load_image(vmlinux()).placed(free).entry == 0x1000000
    with pytest.raises(KexecError, match="20 KiB in one piece, the largest free piece has 16 KiB"):
        load_image(vmlinux(kind=3)).placed(free[:1])


def test_a_virtual_entry_is_translated() -> None:
    assert load_image(vmlinux(entry=0xC1000010)).entry == 0x1000010


def test_parts_in_a_file_of_the_guest() -> None:
    data = vmlinux()
    image = load_image(data)
    segments = image.segments("/boot/k")
    assert [type(s.data) for s in segments] == [FileData, FileData]
    for segment, inline in zip(segments, image.segments(), strict=True):
        assert isinstance(segment.data, FileData)
        assert data[segment.data.offset :][: segment.data.size] == inline.data == image.contents(segment)


def test_parts_that_share_a_page_become_one_segment() -> None:
    image = load_image(vmlinux([(0x1000010, b"one", 3), (0x1000800, b"two", 0x900), (0x1003000, b"", 16)]))
    first, second = image.segments("/boot/k")
    assert (first.mem, first.memsz) == (0x1000000, 0x2000)
    assert first.data == bytes(16) + b"one" + bytes(0x800 - 0x13) + b"two"
    assert (second.mem, second.memsz, second.data) == (0x1003000, 0x1000, b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an ELF file"),
        (b"MZ" + bytes(100), "not an ELF file; allowed is a 32-bit ELF executable for i386"),
        (bytes(0x202) + b"HdrS" + bytes(100), "bzImage"),
        (b"\x7fELF\x01\x01", "cut off"),
        (vmlinux()[:30], "cut off"),
        (vmlinux(machine=62, bits=2), "64-bit ELF file for x86-64"),
        (vmlinux(machine=40), "32-bit ELF file for Arm"),
        (vmlinux(machine=4711), "machine 4711"),
        (vmlinux(order=2), "big-endian"),
        (vmlinux(kind=1), "relocatable object"),
        (vmlinux(kind=4), "core file"),
        (vmlinux([]), "no loadable segment"),
        (vmlinux()[:-1], "outside the file"),
        (vmlinux()[:60], "outside the file"),
        (vmlinux([(0x1000, b"abcd", 2)]), "outside the file"),
        (vmlinux([(0xFFFFF000, b"abcd", 0x2000)]), "beyond 4 GiB"),
        (vmlinux([(0x1000, b"abcd", 0x1001), (0x2000, b"x", 1)]), "overlap"),
        (vmlinux(entry=0x77), "entry point 0x77"),
    ],
)
def test_what_is_no_kernel(data: bytes, message: str) -> None:
    with pytest.raises(KexecError, match=message):
        load_image(data)


def test_outside_the_reserved_region() -> None:
    image = load_image(vmlinux([(0x100000, b"x", 1)]), "vmlinux")
    with pytest.raises(KexecError, match=r"vmlinux is linked to run at 0x100000-0x100fff.*crashkernel=16M@16M"):
        image.check_inside(Range(0x1000000, 0x2000000))
    load_image(vmlinux()).check_inside(Range(0x1000000, 0x1005000))


@given(st.data())
def test_a_damaged_file_is_read_or_refused(data: st.DataObject) -> None:
    image = bytearray(vmlinux())
    for _ in range(data.draw(st.integers(1, 4))):
        image[data.draw(st.integers(0, 115))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(KexecError):
        load_image(bytes(image[: data.draw(st.integers(0, len(image)))]))


def test_gigabytes_of_zeros_between_two_segments_are_not_made() -> None:
    image = load_image(vmlinux([(0x100000, b"a", 0x7FF00010), (0x80000800, b"b", 1)]))
    with pytest.raises(KexecError, match="2047 MiB before its segment at 0x80000800"):
        image.segments()
