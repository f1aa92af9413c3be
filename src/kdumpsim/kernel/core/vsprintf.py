# SPDX-License-Identifier: GPL-2.0-or-later
"""Formatted output into memory (lib/vsprintf.c).

Understood: ``%d %i %u %x %X %o %c %s %p %%``, the flags ``- + space 0 #``, width, precision (also ``*``), and the
lengths ``h l ll z``; arguments are words on the stack, 64-bit ones take two.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, array, cast, cstr, guest, i32, length, ptr, u8, u32, u64, usize
from kdumpsim.kernel.core.string import strnlen

ZEROPAD: Final = 1
"""Flag bits of a conversion: pad with zeros."""
SIGN: Final = 2
"""The value is signed."""
PLUS: Final = 4
SPACE: Final = 8
LEFT: Final = 16
SPECIAL: Final = 32
"""0x or 0 in front."""
LARGE: Final = 64
"""Upper-case digits."""

NO_PRECISION: Final = 0xFFFFFFFF


class Output(Struct):
    """Where the text goes; `pos` runs on past `size` to count what would have been written."""

    buf: ptr[u8]
    size: usize
    pos: usize


class Conversion(Struct):
    """One parsed % conversion."""

    flags: u32
    width: u32
    precision: u32
    base: u32


@guest
def put(out: ptr[Output], c: u8) -> None:
    """Append one byte if there is room for it and a NUL."""
    if out.pos + 1 < out.size:
        out.buf[out.pos] = c
    out.pos += 1


@guest
def pad(out: ptr[Output], c: u8, count: i32) -> None:
    """Append a byte `count` times; none if that is negative."""
    while count > 0:
        put(out, c)
        count -= 1


@guest
def put_number(out: ptr[Output], value: u64, spec: ptr[Conversion]) -> None:
    """Append an integer."""
    flags = spec.flags
    sign: u8 = 0
    if flags & SIGN:
        if value >> 63 != 0:
            value = u64(0) - value
            sign = ord("-")
        elif flags & PLUS:
            sign = ord("+")
        elif flags & SPACE:
            sign = ord(" ")
    letter: u32 = ord("A") - 10 if flags & LARGE else ord("a") - 10
    digits: array[u8] = length(24)
    n: u32 = 0
    while value >> 32 != 0:
        digit = u32(value % spec.base)
        digits[n] = u8(digit + (ord("0") if digit < 10 else letter))
        value //= spec.base
        n += 1
    word = u32(value)
    while word != 0 or n == 0:
        digit = word % spec.base
        digits[n] = u8(digit + (ord("0") if digit < 10 else letter))
        word //= spec.base
        n += 1
    precision: u32 = n
    if spec.precision != NO_PRECISION:
        flags &= ~u32(ZEROPAD)
        precision = max(n, spec.precision)
    prefix: u32 = 0
    if flags & SPECIAL:
        if spec.base == 16:
            prefix = 2
        elif spec.base == 8:
            prefix = 1
    room = i32(spec.width) - i32(precision + prefix) - (1 if sign != 0 else 0)
    if flags & LEFT:
        flags &= ~u32(ZEROPAD)
    elif not flags & ZEROPAD:
        pad(out, ord(" "), room)
    if sign != 0:
        put(out, sign)
    if prefix > 0:
        put(out, ord("0"))
    if prefix > 1:
        put(out, ord("X") if flags & LARGE else ord("x"))
    if flags & ZEROPAD:
        pad(out, ord("0"), room)
    pad(out, ord("0"), i32(precision - n))
    while n > 0:
        n -= 1
        put(out, digits[n])
    if flags & LEFT:
        pad(out, ord(" "), room)


@guest
def put_string(out: ptr[Output], s: cstr, spec: ptr[Conversion]) -> None:
    """Append a string, cut by the precision."""
    n = strnlen(s, spec.precision)
    room = i32(spec.width) - i32(n)
    if not spec.flags & LEFT:
        pad(out, ord(" "), room)
    i: u32 = 0
    while i < n:
        put(out, s[i])
        i += 1
    if spec.flags & LEFT:
        pad(out, ord(" "), room)


@guest
def flag_bit(c: u8) -> u32:
    """The flag a format character stands for, or 0."""
    if c == ord("-"):
        return LEFT
    if c == ord("+"):
        return PLUS
    if c == ord(" "):
        return SPACE
    if c == ord("#"):
        return SPECIAL
    if c == ord("0"):
        return ZEROPAD
    return 0


@guest
def vsnprintf(buf: ptr[u8], size: usize, fmt: cstr, args: ptr[usize]) -> i32:
    """Format into `size` bytes, always with a NUL; the length the whole text has or would have had."""
    out: Output = Output()
    out.buf = buf
    out.size = size
    out.pos = 0
    spec: Conversion = Conversion()
    i: u32 = 0
    arg: u32 = 0
    while fmt[i] != 0:
        if fmt[i] != ord("%"):
            put(out, fmt[i])
            i += 1
            continue
        i += 1
        spec.flags = 0
        while flag_bit(fmt[i]) != 0:
            spec.flags |= flag_bit(fmt[i])
            i += 1
        spec.width = 0
        if fmt[i] == ord("*"):
            spec.width = args[arg]
            arg += 1
            i += 1
            if i32(spec.width) < 0:
                spec.width = u32(0) - spec.width
                spec.flags |= LEFT
        while ord("0") <= fmt[i] <= ord("9"):
            spec.width = spec.width * 10 + (u32(fmt[i]) - ord("0"))
            i += 1
        spec.precision = NO_PRECISION
        if fmt[i] == ord("."):
            i += 1
            spec.precision = 0
            if fmt[i] == ord("*"):
                spec.precision = args[arg]
                arg += 1
                i += 1
            while ord("0") <= fmt[i] <= ord("9"):
                spec.precision = spec.precision * 10 + (u32(fmt[i]) - ord("0"))
                i += 1
        longs: u32 = 0
        while fmt[i] == ord("l") or fmt[i] == ord("h") or fmt[i] == ord("z"):
            if fmt[i] == ord("l"):
                longs += 1
            i += 1
        c = fmt[i]
        if c == 0:
            break
        i += 1
        spec.base = 0
        if c == ord("d") or c == ord("i"):
            spec.base = 10
            spec.flags |= SIGN
        elif c == ord("u"):
            spec.base = 10
        elif c == ord("x"):
            spec.base = 16
        elif c == ord("X"):
            spec.base = 16
            spec.flags |= LARGE
        elif c == ord("o"):
            spec.base = 8
        elif c == ord("p"):
            spec.base = 16
            spec.width = 8
            spec.flags |= ZEROPAD
        if spec.base != 0:
            value = u64(args[arg])
            arg += 1
            if longs >= 2:
                value |= u64(args[arg]) << 32
                arg += 1
            elif spec.flags & SIGN and value >> 31 != 0:
                value |= u64(0xFFFFFFFF) << 32
            put_number(out, value, spec)
        elif c == ord("s"):
            s = cast(cstr, args[arg])
            arg += 1
            put_string(out, s if s != NULL else "<NULL>", spec)
        elif c == ord("c"):
            if not spec.flags & LEFT:
                pad(out, ord(" "), i32(spec.width) - 1)
            put(out, u8(args[arg]))
            arg += 1
            if spec.flags & LEFT:
                pad(out, ord(" "), i32(spec.width) - 1)
        else:
            put(out, ord("%"))
            if c != ord("%"):
                put(out, c)
    if size > 0:
        buf[out.pos if out.pos < size else size - 1] = 0
    return i32(out.pos)


@guest
def snprintf(buf: ptr[u8], size: usize, fmt: cstr, *args: usize) -> i32:
    """vsnprintf() with the arguments written out."""
    return vsnprintf(buf, size, fmt, cast(ptr[usize], args))
