# SPDX-License-Identifier: GPL-2.0-or-later
"""64-bit division: CPython's integers are the judge."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from guest_harness import guest, host_module, pair
from kdumpsim.compiler import lang

libgcc = host_module("kdumpsim.kernel.core.libgcc")

u64s = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 63).flatmap(lambda n: st.integers(0, 2**n)))
divisors = u64s.filter(bool)
i64s = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-1000, 1000))


@given(u64s, divisors)
@example(2**64 - 1, 1)
@example(2**64 - 1, 2**64 - 1)
@example(2**32, 2**32 - 1)
def test_unsigned(a: int, b: int) -> None:
    assert libgcc.__udivdi3(lang.u64(a), lang.u64(b)) == a // b
    assert libgcc.__umoddi3(lang.u64(a), lang.u64(b)) == a % b
    assert guest().call_u64("__udivdi3", *pair(a), *pair(b)) == a // b
    assert guest().call_u64("__umoddi3", *pair(a), *pair(b)) == a % b


@given(i64s, i64s.filter(bool))
@example(-7, 2)
@example(7, -2)
def test_signed_is_cut_towards_zero(a: int, b: int) -> None:
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    expected = quotient & (2**64 - 1), (a - quotient * b) & (2**64 - 1)
    host = [int(f(lang.i64(a), lang.i64(b))) & (2**64 - 1) for f in (libgcc.__divdi3, libgcc.__moddi3)]
    compiled = [guest().call_u64(name, *pair(a), *pair(b)) for name in ("__divdi3", "__moddi3")]
    assert tuple(host) == tuple(compiled) == expected


@given(u64s)
def test_highest_bit(value: int) -> None:
    assert libgcc.fls64(lang.u64(value)) == value.bit_length()
    assert guest().call("fls64", *pair(value)) == value.bit_length()
