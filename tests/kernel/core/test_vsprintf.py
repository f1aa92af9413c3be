# SPDX-License-Identifier: GPL-2.0-or-later
"""vsnprintf() against Python's % operator, which agrees with C on what is tried here."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest_harness import HostPtr, guest, host_module, host_string, pair
from kdumpsim.compiler import lang

vsprintf = host_module("kdumpsim.kernel.core.vsprintf")

SIZE = 120


def host_format(fmt: bytes, args: list[object], size: int = SIZE) -> tuple[int, bytes]:
    buffer = HostPtr(bytearray(SIZE + 8), kind=lang.u8)
    words = HostPtr([lang.u32(arg) if isinstance(arg, int) else arg for arg in args])
    n = vsprintf.vsnprintf(buffer, lang.u32(size), host_string(fmt), words)
    return int(n), bytes(buffer.items).split(b"\0")[0]


def guest_format(fmt: bytes, args: list[object], size: int = SIZE) -> tuple[int, bytes]:
    g = guest()
    g.reset()
    buffer = g.alloc(SIZE + 8)
    words = [arg if isinstance(arg, int) else g.string(bytes(arg.items)) for arg in args]  # type: ignore[attr-defined]
    block = g.alloc(struct.pack(f"<{len(words)}I", *(word & 0xFFFFFFFF for word in words)))
    n = g.call_i32("vsnprintf", buffer, size, g.string(fmt), block)
    return n, g.read(buffer, SIZE + 8).split(b"\0")[0]


@pytest.fixture(params=[host_format, guest_format], ids=["cpython", "compiled"])
def formatted(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    return request.param


flags = st.sets(st.sampled_from("-+ 0#")).map("".join)
widths = st.one_of(st.just(""), st.integers(1, 30).map(str))


@given(flags, widths, st.sampled_from("dxXu"), st.integers(0, 2**32 - 1))
def test_numbers(flag: str, width: str, letter: str, value: int) -> None:
    shown = value - 2**32 if letter == "d" and value >> 31 else value
    if letter != "d":
        flag = flag.replace("+", "").replace(" ", "")
    flag = flag.replace("#", "") if letter in "du" or value == 0 else flag
    fmt = f"[%{flag}{width}{letter}]"
    expected = (f"[%{flag}{width}{'d' if letter == 'u' else letter}]" % shown).encode()
    assert host_format(fmt.encode(), [value]) == (len(expected), expected)
    assert guest_format(fmt.encode(), [value]) == (len(expected), expected)


@given(st.integers(0, 2**64 - 1))
def test_64_bits(value: int) -> None:
    expected = b"%d %x!" % (value, value)
    args: list[object] = [*pair(value), *pair(value)]
    assert host_format(b"%llu %llx!", args) == guest_format(b"%llu %llx!", args) == (len(expected), expected)


@given(st.text("ab %", max_size=20).map(str.encode), st.integers(0, 25), st.booleans(), st.integers(0, 25))
def test_strings(text: bytes, width: int, left: bool, precision: int) -> None:
    left = left and width > 0
    fmt = f"<%{'-' * left}{width or ''}.{precision}s>".encode()
    cut = text[:precision]
    expected = b"<" + (cut.ljust(width) if left else cut.rjust(width)) + b">"
    assert host_format(fmt, [host_string(text)]) == guest_format(fmt, [host_string(text)]) == (len(expected), expected)


@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_cut_at_the_end_of_the_buffer(size: int, value: int) -> None:
    whole = b"value %010d and more" % value
    expected = len(whole), whole[: max(size - 1, 0)]
    assert host_format(b"value %010u and more", [value], size) == expected
    assert guest_format(b"value %010u and more", [value], size) == expected


def test_the_rest(formatted) -> None:  # type: ignore[no-untyped-def]
    assert formatted(b"100%% %c%c", [ord("o"), ord("k")])[1] == b"100% ok"
    assert formatted(b"%p", [0xC0100ABC])[1] == b"c0100abc"
    assert formatted(b"%*s%08x", [4, host_string(b""), 0x1000])[1] == b"    00001000"
    assert formatted(b"%y %", [])[1] == b"%y "
