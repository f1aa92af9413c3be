# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/iomem."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.kexec.errors import KexecError
from kdumpsim.kexec.iomem import RangeType, Resource, format_iomem, memory_layout, parse_iomem
from kdumpsim.kexec.segments import Range

from .builders import IOMEM


def test_layout_of_a_pc() -> None:
    layout = memory_layout(IOMEM)
    assert layout.ram == (Range(0, 0x9FC00), Range(0x100000, 0x3FF0000))
    assert layout.memory_map == [
        (Range(0, 0x9FC00), RangeType.RAM),
        (Range(0x9FC00, 0xA0000), RangeType.RESERVED),
        (Range(0xF0000, 0x100000), RangeType.RESERVED),
        (Range(0x100000, 0x3FF0000), RangeType.RAM),
        (Range(0x3FF0000, 0x3FF8000), RangeType.ACPI),
        (Range(0x3FF8000, 0x4000000), RangeType.NVS),
        (Range(0xFFFC0000, 0x100000000), RangeType.RESERVED),
    ]
    assert layout.require_crash() == Range(0x1000000, 0x2000000)
    assert layout.kernel == (Range(0x100000, 0x120800), Range(0x120800, 0x150000))


def test_neighbouring_ram_is_joined_and_order_does_not_matter() -> None:
    text = "00200000-003fffff : System RAM\n00100000-001fffff : System RAM\n00500000-005fffff : System RAM\n"
    assert memory_layout(text).ram == (Range(0x100000, 0x400000), Range(0x500000, 0x600000))


def test_what_is_nested_in_a_range_of_its_type_is_not_told_twice() -> None:
    """Later kernels show the ROM inside the map's range, and spell it with a capital letter."""
    text = "00000000-0009fbff : System RAM\n000e0000-000fffff : Reserved\n  000f0000-000fffff : System ROM\n"
    assert memory_layout(text).other == ((Range(0xE0000, 0x100000), RangeType.RESERVED),)


def test_no_reserved_region() -> None:
    layout = memory_layout("00000000-0009fbff : System RAM\n")
    with pytest.raises(KexecError, match=r"crashkernel=16M@16M"):
        layout.require_crash()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no 'System RAM'"),
        ("00000000-000fffff : reserved\n", "no 'System RAM'"),
        ("00000000-0009fbff : System RAM\nnonsense\n", "line 2"),
        ("0000-zzzz : System RAM\n", "line 1"),
        ("00001000-00000000 : System RAM\n", "ends before it starts"),
        ("00000000-00000000 : System RAM\n00000000-00000000 : Crash kernel\n", "read it as root"),
        ("00000000-ffffffffffffffff : System RAM\n", "line 1: an address of more than 52 bits"),
        ("0-ffffff : System RAM\n  1001-1003 : Crash kernel\n", "no whole page"),
        ("".join(f"{n}000-{n}7ff : System RAM\n" for n in range(2000)), "2000 pieces of memory, allowed are 1024"),
    ],
)
def test_what_is_no_iomem(text: str, message: str) -> None:
    with pytest.raises(KexecError, match=message):
        memory_layout(text)


names = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1).filter(str.strip)
ranges = st.tuples(st.integers(0, 2**40), st.integers(1, 2**40)).map(lambda pair: Range(pair[0], pair[0] + pair[1]))


@given(st.lists(st.builds(Resource, ranges, names, st.integers(0, 4))))
def test_text_and_back(resources: list[Resource]) -> None:
    assert parse_iomem(format_iomem(resources)) == resources


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(KexecError):
        memory_layout(text)
