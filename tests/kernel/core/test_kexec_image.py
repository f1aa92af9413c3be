# SPDX-License-Identifier: GPL-2.0-or-later
"""What sys_kexec_load refuses: the checks on segment destinations."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest_harness import guest, host_module
from kdumpsim.compiler import lang

image_module = host_module("kdumpsim.kernel.core.kexec_image")

EINVAL, EADDRNOTAVAIL = -22, -99
PAGE = 4096
REGION = (16 << 20, (32 << 20) - 1)
SEGMENTS_AT = 28
Segment = tuple[int, int, int]  # mem, memsz, bufsz

aligned = st.integers((16 << 8) - 4, (32 << 8) + 4).map(lambda n: n * PAGE)
segments = st.lists(st.tuples(aligned, st.integers(0, 4).map(lambda n: n * PAGE), st.integers(0, 5 * PAGE)), max_size=6)


def host_image(entry: int, wanted: list[Segment]) -> Any:
    image = image_module.Kimage(start=lang.u32(entry), nr_segments=lang.u32(len(wanted)))
    image.segment = [
        image_module.KexecSegment(mem=lang.u32(mem), memsz=lang.u32(memsz), bufsz=lang.u32(bufsz))
        for mem, memsz, bufsz in wanted
    ]
    return image


def guest_image(entry: int, wanted: list[Segment]) -> int:
    g = guest()
    g.reset()
    data = struct.pack("<7I", 0, 0, 0, entry, 0, 0, len(wanted))
    data += b"".join(struct.pack("<4I", 0, bufsz, mem, memsz) for mem, memsz, bufsz in wanted)
    return g.alloc(data.ljust(SEGMENTS_AT + 16 * 16 + 24, b"\0"))


def host_region() -> Any:
    return image_module.Resource(start=lang.u32(REGION[0]), end=lang.u32(REGION[1]))


def guest_region() -> int:
    return guest().alloc(struct.pack("<7I", *REGION, 0, 0, 0, 0, 0))


def both(check: str, entry: int, wanted: list[Segment], *, region: bool) -> int:
    """The check's answer, which must be the same both ways."""
    host = int(getattr(image_module, check)(host_image(entry, wanted), *([host_region()] if region else [])))
    image = guest_image(entry, wanted)
    compiled = guest().call_i32(check, image, *([guest_region()] if region else []))
    assert host == compiled
    return host


@given(segments)
def test_overlaps_and_lengths(wanted: list[Segment]) -> None:
    ok = all(bufsz <= memsz for _, memsz, bufsz in wanted)
    for i, (mem, memsz, _) in enumerate(wanted):
        for other, othersz, _ in wanted[:i]:
            ok = ok and not (mem + memsz > other and mem < other + othersz)
    assert both("sanity_check_segments", 0, wanted, region=False) == (0 if ok else EINVAL)


@pytest.mark.parametrize(
    ("segment", "error"),
    [
        ((0x100000, PAGE, PAGE), 0),
        ((0x100800, PAGE, 0), EADDRNOTAVAIL),
        ((0x100000, 0x800, 0), EADDRNOTAVAIL),
        ((0xFFFFF000, 2 * PAGE, 0), EADDRNOTAVAIL),
        ((0x100000, PAGE, PAGE + 1), EINVAL),
    ],
)
def test_single_segments(segment: Segment, error: int) -> None:
    assert both("sanity_check_segments", 0, [segment], region=False) == error


@given(segments, aligned)
def test_a_crash_image_stays_inside_the_region(wanted: list[Segment], entry: int) -> None:
    ok = REGION[0] <= entry <= REGION[1]
    for mem, memsz, _ in wanted:
        ok = ok and (memsz == 0 or (mem >= REGION[0] and mem + memsz - 1 <= REGION[1]))
    assert both("inside_region", entry, wanted, region=True) == (0 if ok else EADDRNOTAVAIL)


@given(segments)
def test_the_control_page_is_in_no_segment(wanted: list[Segment]) -> None:
    page = both("alloc_crash_control_page", 0, wanted, region=True)
    assert REGION[0] <= page <= REGION[1]
    assert all(page + PAGE <= mem or page >= mem + memsz for mem, memsz, _ in wanted)


def test_a_full_region_has_no_control_page() -> None:
    size = REGION[1] + 1 - REGION[0]
    assert both("alloc_crash_control_page", 0, [(REGION[0], size, 0)], region=True) == 0
