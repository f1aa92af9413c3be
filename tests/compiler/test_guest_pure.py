# SPDX-License-Identifier: GPL-2.0-or-later
"""Pure functions with loops and locals: run by CPython and compiled, on inputs chosen by hypothesis."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from guest_machine import PRELUDE, Machine, build
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from kdumpsim.compiler import lang
from properties import examples

TEXT = """
POLYNOMIAL: Final = 0xEDB88320


@guest
def crc_of_word(word: u32, seed: u32) -> u32:
    crc = ~seed
    for shift in range(0, 32, 8):
        crc = crc ^ ((word >> shift) & 0xFF)
        for _bit in range(8):
            crc = (crc >> 1) ^ POLYNOMIAL if crc & 1 else crc >> 1
    return ~crc


@guest
def gcd(a: u32, b: u32) -> u32:
    while b:
        rest = a % b
        a = b
        b = rest
    return a


@guest
def root(n: u32) -> u32:
    low: u32 = 0
    high: u32 = 0xFFFF
    while low < high:
        middle = low + (high - low + 1) // 2
        if middle * middle <= n:
            low = middle
        else:
            high = middle - 1
    return low


@guest
def collatz(n: u32, limit: u32) -> u32:
    steps: u32 = 0
    while n > 1 and steps < limit % 200:
        steps += 1
        if n % 2 == 0:
            n //= 2
            continue
        n = n * 3 + 1
        if n == 16:
            break
    return steps * 1000 + n % 1000


@guest
def days(year: i32, month: i32) -> i32:
    y = year % 4000
    m = month % 12
    total = y * 365 + y // 4 - y // 100 + y // 400
    for k in range(m):
        total += 31 if k in_list else 28
    return -total if month < 0 else total


@guest
def last_index(start: i32, stop: i32) -> i32:
    i: i32 = -99
    count: i32 = 0
    for i in range(start % 20, stop % 50, 3):
        count += 1
    for k in range(stop % 10, start % 10, -2):
        count += k
    return i * 100 + count
""".replace("31 if k in_list else 28", "31 if k % 2 == 0 else 28")
FUNCTIONS = {
    "crc_of_word": "u32", "gcd": "u32", "root": "u32", "collatz": "u32", "days": "i32", "last_index": "i32",
}  # fmt: skip


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, dict[str, Callable[..., int]]]:
    names: dict[str, Callable[..., int]] = {}
    exec(PRELUDE + TEXT, names)
    return Machine(build(tmp_path_factory.mktemp("pure"), TEXT, "gcd")), names


@pytest.mark.parametrize("name", FUNCTIONS)
@examples(40, suppress_health_check=list(HealthCheck))
@given(a=st.integers(0, 0xFFFFFFFF), b=st.one_of(st.integers(0, 0xFFFFFFFF), st.integers(0, 300)))
def test_pure_functions(both: tuple[Machine, dict[str, Callable[..., int]]], name: str, a: int, b: int) -> None:
    machine, names = both
    kind = getattr(lang, FUNCTIONS[name])
    count = 1 if name == "root" else 2
    expected = names[name](*(kind(value) for value in (a, b)[:count]))
    assert machine.call(name, *(a, b)[:count]) == int(expected) & 0xFFFFFFFF
