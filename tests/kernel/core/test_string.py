# SPDX-License-Identifier: GPL-2.0-or-later
"""String and memory functions against Python's bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guest_harness import HostPtr, guest, host_module, host_string
from kdumpsim.compiler import lang

string = host_module("kdumpsim.kernel.core.string")

texts = st.binary(max_size=40).map(lambda data: data.replace(b"\0", b""))
letters = st.text("abAB/", max_size=12).map(str.encode)


def sign(value: int) -> int:
    return (value > 0) - (value < 0)


@given(texts)
def test_strlen(text: bytes) -> None:
    g = guest()
    g.reset()
    assert string.strlen(host_string(text)) == g.call("strlen", g.string(text)) == len(text)


@given(letters, letters, st.integers(0, 14))
def test_comparisons(a: bytes, b: bytes, limit: int) -> None:
    g = guest()
    g.reset()
    x, y = g.string(a), g.string(b)
    whole = (a > b) - (a < b)
    cut = (a[:limit] > b[:limit]) - (a[:limit] < b[:limit])
    assert sign(string.strcmp(host_string(a), host_string(b))) == sign(g.call_i32("strcmp", x, y)) == whole
    host = string.strncmp(host_string(a), host_string(b), lang.u32(limit))
    assert sign(host) == sign(g.call_i32("strncmp", x, y, limit)) == cut
    size = min(len(a), len(b))
    assert sign(g.call_i32("memcmp", x, y, size)) == (a[:size] > b[:size]) - (a[:size] < b[:size])


@given(letters, letters)
def test_strstr(haystack: bytes, needle: bytes) -> None:
    g = guest()
    g.reset()
    at = haystack.find(needle)
    place = host_string(haystack)
    found = string.strstr(place, host_string(needle))
    assert found == (place + at if at >= 0 else None)
    start = g.string(haystack)
    assert g.call("strstr", start, g.string(needle)) == (start + at if at >= 0 else 0)


@given(texts, st.integers(0, 20))
def test_strlcpy(text: bytes, size: int) -> None:
    expected = (text[: max(size - 1, 0)] + b"\0" if size else b"").ljust(48, b"\xee")
    buffer = HostPtr(bytearray(b"\xee" * 48), kind=lang.u8)
    assert string.strlcpy(buffer, host_string(text), lang.u32(size)) == len(text)
    assert bytes(buffer.items) == expected
    g = guest()
    g.reset()
    dest = g.alloc(b"\xee" * 48)
    assert g.call("strlcpy", dest, g.string(text), size) == len(text)
    assert g.read(dest, 48) == expected


@given(st.binary(min_size=1, max_size=200), st.integers(0, 7), st.integers(0, 7))
def test_memcpy(data: bytes, source_offset: int, dest_offset: int) -> None:
    g = guest()
    g.reset()
    source = g.alloc(bytes(source_offset) + data) + source_offset
    area = g.alloc(b"\xee" * 256)
    assert g.call("memcpy", area + dest_offset, source, len(data)) == area + dest_offset
    assert g.read(area, 256) == (b"\xee" * dest_offset + data).ljust(256, b"\xee")


@given(st.binary(min_size=1, max_size=200), st.integers(0, 255), st.integers(0, 90), st.integers(0, 100))
def test_memset(data: bytes, value: int, offset: int, count: int) -> None:
    g = guest()
    g.reset()
    before = data.ljust(200, b"\x5a")
    area = g.alloc(before)
    g.call("memset", area + offset, value, count)
    assert g.read(area, 200) == before[:offset] + bytes([value]) * count + before[offset + count :]


@given(st.binary(min_size=60, max_size=60), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_memmove_may_overlap(data: bytes, source: int, dest: int, count: int) -> None:
    g = guest()
    g.reset()
    area = g.alloc(data)
    g.call("memmove", area + dest, area + source, count)
    assert g.read(area, 60) == data[:dest] + data[source : source + count] + data[dest + count :]


numbers = st.integers(0, 2**64 - 1)
written = st.one_of(
    numbers.map(lambda n: (str(n), 0, n)),
    numbers.map(lambda n: (hex(n), 0, n)),
    numbers.map(lambda n: (f"0{n:o}", 0, n)),
    numbers.map(lambda n: (f"{n:X}", 16, n)),
)


@given(written, st.sampled_from(["", " ", "k", "@16M", "-"]))
def test_numbers(number: tuple[str, int, int], rest: str) -> None:
    text, base, value = number
    data = (text + rest).encode()
    place, end = host_string(data), HostPtr([None])
    assert string.simple_strtoull(place, end, lang.u32(base)) == value
    assert end[0] == place + len(text)
    g = guest()
    g.reset()
    start, slot = g.string(data), g.alloc(4)
    assert g.call_u64("simple_strtoull", start, slot, base) == value
    assert g.word(slot) == start + len(text)


@given(st.integers(0, 2**20), st.sampled_from([("", 0), ("K", 10), ("k", 10), ("M", 20), ("m", 20), ("G", 30)]))
def test_memparse(number: int, unit: tuple[str, int]) -> None:
    g = guest()
    g.reset()
    text = f"{number}{unit[0]}".encode()
    start, slot = g.string(text + b"@16M"), g.alloc(4)
    assert g.call_u64("memparse", start, slot) == number << unit[1]
    assert g.word(slot) == start + len(text)
