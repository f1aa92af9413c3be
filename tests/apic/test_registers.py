# SPDX-License-Identifier: GPL-2.0-or-later
"""Declared registers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.apic.registers import Access, Field, Register, RegisterFile


class Sample(Register):
    low = Field(0, 4)
    status = Field(4, 2, access=Access.RO, reset=2)
    flag = Field(7, access=Access.W1C, reset=1)


def test_reset_value_and_masks_follow_from_the_fields() -> None:
    assert Sample.RESET == 0xA0
    assert (Sample.WRITABLE, Sample.CLEARABLE) == (0x0F, 0x80)
    assert Sample.low.mask == 0x0F
    assert Sample().describe() == {"low": 0, "status": 2, "flag": 1}


def test_hardware_sets_what_software_cannot() -> None:
    register = Sample()
    register.write(0x3F)
    assert (register.low, register.status, register.flag) == (0xF, 2, 1)
    register.status = 1
    register.write(0x80)
    assert (register.low, register.status, register.flag) == (0, 1, 0)


def test_a_field_may_not_overlap_another() -> None:
    with pytest.raises(ValueError, match="overlaps"):
        type("Bad", (Register,), {"a": Field(0, 4), "b": Field(3)})


def test_a_reset_value_has_to_fit() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Field(0, 2, reset=4)


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF))
def test_software_changes_only_what_is_declared_writable(before: int, written: int) -> None:
    register = Sample(before)
    register.write(written)
    assert (register.value ^ before) & ~(Sample.WRITABLE | Sample.CLEARABLE) == 0
    assert register.value & Sample.WRITABLE == written & Sample.WRITABLE


class Pair(Register):
    low = Field(0, 8)
    flag = Field(8, access=Access.W1C)


def test_a_file_takes_accesses_of_any_width() -> None:
    byte, pair = Plain(0x12), Pair(0x0134)
    file = RegisterFile({0: (1, byte), 2: (2, pair)})
    assert [file.read(at, 4) for at in range(4)] == [0x01340012, 0x013400, 0x0134, 0x01]
    assert file.spread(0, 4, 0xAABBCCDD) == {0: 0xDD, 2: 0xAABB}
    assert file.spread(2, 1, 0x56) == {2: 0x0056}  # the other byte clears nothing
    assert file.spread(1, 1, 0x56) == {}
    pair.write(file.spread(3, 1, 0x01)[2])
    assert file.state() == {0: 0x12, 2: 0x0034}
    byte.value = 0
    file.reset()
    assert (byte.value, pair.value) == (0x12, 0x0134)


class Plain(Register):
    bits = Field(0, 8)
