# SPDX-License-Identifier: GPL-2.0-or-later
"""64-bit division for a 32-bit CPU: the helpers a compiler calls by name (libgcc).

Nothing here may itself divide 64-bit numbers.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import guest, i64, u32, u64


@guest
def fls64(value: u64) -> u32:
    """Number of the highest set bit, counted from 1; 0 for 0."""
    n: u32 = 0
    word = u32(value)
    if value >> 32 != 0:
        n = 32
        word = u32(value >> 32)
    if word >= 0x10000:
        n += 16
        word >>= 16
    if word >= 0x100:
        n += 8
        word >>= 8
    while word != 0:
        n += 1
        word >>= 1
    return n


@guest
def __udivdi3(numerator: u64, divisor: u64) -> u64:
    """Unsigned quotient, by shifting and subtracting; division by zero traps as it does for 32 bits."""
    if numerator >> 32 == 0 and divisor >> 32 == 0:
        return u64(u32(numerator) // u32(divisor))
    if divisor == 0:
        return u64(u32(1) // u32(divisor))
    if divisor > numerator:
        return 0
    shift = fls64(numerator) - fls64(divisor)
    part = divisor << shift
    bit = u64(1) << shift
    quotient: u64 = 0
    while bit != 0:
        if numerator >= part:
            numerator -= part
            quotient |= bit
        part >>= 1
        bit >>= 1
    return quotient


@guest
def __umoddi3(numerator: u64, divisor: u64) -> u64:
    """Unsigned remainder."""
    return numerator - __udivdi3(numerator, divisor) * divisor


@guest
def __divdi3(numerator: i64, divisor: i64) -> i64:
    """Signed quotient, cut towards zero."""
    a = u64(-numerator) if numerator < 0 else u64(numerator)
    b = u64(-divisor) if divisor < 0 else u64(divisor)
    quotient = i64(__udivdi3(a, b))
    return -quotient if (numerator < 0) != (divisor < 0) else quotient


@guest
def __moddi3(numerator: i64, divisor: i64) -> i64:
    """Signed remainder, with the numerator's sign."""
    return numerator - __divdi3(numerator, divisor) * divisor
