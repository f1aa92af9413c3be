# SPDX-License-Identifier: GPL-2.0-or-later
"""Formatted output into memory (lib/vsprintf.c).

Understood: ``%d %i %u %x %X %o %c %s %p %%``, the flags ``- + space 0 #``, width, precision (also ``*``), and the
lengths ``h l ll z``; arguments are words on the stack, 64-bit ones take two.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, array, cast, cstr, guest, i32, length, ptr, sizeof, u8, u32, u64, usize
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

POINTER_DIGITS: Final = 2 * sizeof(usize)
NO_PRECISION: Final = 0xFFFFFFFF

small_digits: array[u8] = b"0123456789abcdef"
large_digits: array[u8] = b"0123456789ABCDEF"


class Output(Struct):
    """Where the text goes; `pos` runs on past `size` to count what would have been written."""

    buf: ptr[u8]
    size: usize
    pos: usize


class Source(Struct):
    """What is still to be formatted: the rest of the format, and the words of the arguments it has not used."""

    fmt: cstr
    args: ptr[usize]


class Conversion(Struct):
    """One parsed % conversion."""

    flags: u32
    width: u32
    precision: u32
    longs: u32
    """How often l stood in front of the letter: twice makes the argument 64 bits wide."""
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
    letter: u8 = 0
    if flags & SIGN:
        if value >> 63 != 0:
            value = u64(0) - value
            sign = ord("-")
        elif flags & PLUS:
            sign = ord("+")
        elif flags & SPACE:
            sign = ord(" ")
    elif flags & SPECIAL and spec.base != 10:
        sign = ord("0")
        if spec.base == 16:
            letter = ord("X") if flags & LARGE else ord("x")
    names = large_digits if flags & LARGE else small_digits
    digits: array[u8] = length(24)
    n: u32 = 0
    while value >> 32 != 0:
        digits[n] = names[u32(value % spec.base)]
        value //= spec.base
        n += 1
    word = u32(value)
    while word != 0 or n == 0:
        digits[n] = names[word % spec.base]
        word //= spec.base
        n += 1
    precision = n
    if spec.precision != NO_PRECISION:
        flags &= ~ZEROPAD
        precision = max(n, spec.precision)
    room = i32(spec.width) - i32(precision) - (1 if sign != 0 else 0) - (1 if letter != 0 else 0)
    if not flags & (LEFT | ZEROPAD):
        pad(out, ord(" "), room)
    if sign != 0:
        put(out, sign)
    if letter != 0:
        put(out, letter)
    if flags & ZEROPAD and not flags & LEFT:
        pad(out, ord("0"), room)
    pad(out, ord("0"), i32(precision - n))
    while n > 0:
        n -= 1
        put(out, digits[n])
    if flags & LEFT:
        pad(out, ord(" "), room)


@guest
def put_text(out: ptr[Output], text: ptr[u8], count: usize, spec: ptr[Conversion]) -> None:
    """Append `count` bytes in a field of the conversion's width."""
    room = i32(spec.width) - i32(count)
    if not spec.flags & LEFT:
        pad(out, ord(" "), room)
    for i in range(count):
        put(out, text[i])
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
def radix(letter: u8) -> u32:
    """The base of an integer conversion; 0 for any other."""
    if letter == ord("d") or letter == ord("i") or letter == ord("u"):
        return 10
    if letter == ord("x") or letter == ord("X") or letter == ord("p"):
        return 16
    return 8 if letter == ord("o") else 0


@guest
def next_word(source: ptr[Source]) -> usize:
    """The next argument (va_arg)."""
    word = source.args[0]
    source.args += 1
    return word


@guest
def skip_atoi(source: ptr[Source]) -> i32:
    """A width or a precision: digits, or an argument in place of ``*``."""
    if source.fmt[0] == ord("*"):
        source.fmt += 1
        return i32(next_word(source))
    number: i32 = 0
    while ord("0") <= source.fmt[0] <= ord("9"):
        number = number * 10 + (i32(source.fmt[0]) - ord("0"))
        source.fmt += 1
    return number


@guest
def parse_conversion(source: ptr[Source], spec: ptr[Conversion]) -> u8:
    """Take the conversion that follows a %, in front of its letter and with it; the letter."""
    spec.flags = 0
    while flag_bit(source.fmt[0]) != 0:
        spec.flags |= flag_bit(source.fmt[0])
        source.fmt += 1
    width = skip_atoi(source)
    if width < 0:
        spec.flags |= LEFT
    spec.width = u32(abs(width))
    spec.precision = NO_PRECISION
    if source.fmt[0] == ord("."):
        source.fmt += 1
        spec.precision = u32(skip_atoi(source))
    spec.longs = 0
    while source.fmt[0] == ord("l") or source.fmt[0] == ord("h") or source.fmt[0] == ord("z"):
        if source.fmt[0] == ord("l"):
            spec.longs += 1
        source.fmt += 1
    letter = source.fmt[0]
    if letter != 0:
        source.fmt += 1
    spec.base = radix(letter)
    if letter == ord("d") or letter == ord("i"):
        spec.flags |= SIGN
    elif letter == ord("X"):
        spec.flags |= LARGE
    elif letter == ord("p"):
        spec.flags |= ZEROPAD
        spec.width = POINTER_DIGITS
    return letter


@guest
def next_integer(source: ptr[Source], spec: ptr[Conversion]) -> u64:
    """The argument of an integer conversion, extended by its sign if it has one."""
    value = u64(next_word(source))
    if spec.longs >= 2:
        return value | u64(next_word(source)) << 32
    return u64(i32(value)) if spec.flags & SIGN else value


@guest
def vsnprintf(buf: ptr[u8], size: usize, fmt: cstr, args: ptr[usize]) -> i32:
    """Format into `size` bytes, always with a NUL; the length the whole text has or would have had."""
    out: Output = Output(buf=buf, size=size, pos=0)
    source: Source = Source(fmt=fmt, args=args)
    spec: Conversion = Conversion()
    letter: array[u8] = length(1)
    while source.fmt[0] != 0:
        c = source.fmt[0]
        source.fmt += 1
        if c != ord("%"):
            put(out, c)
            continue
        c = parse_conversion(source, spec)
        if c == 0:
            break
        if spec.base != 0:
            put_number(out, next_integer(source, spec), spec)
        elif c == ord("s"):
            text: cstr = cast(cstr, next_word(source))
            if text == NULL:
                text = "<NULL>"
            put_text(out, text, strnlen(text, spec.precision), spec)
        elif c == ord("c"):
            letter[0] = u8(next_word(source))
            put_text(out, letter, 1, spec)
        else:
            put(out, ord("%"))
            if c != ord("%"):
                put(out, c)
    if size > 0:
        buf[min(out.pos, size - 1)] = 0
    return i32(out.pos)


@guest
def snprintf(buf: ptr[u8], size: usize, fmt: cstr, *args: usize) -> i32:
    """vsnprintf() with the arguments written out."""
    return vsnprintf(buf, size, fmt, cast(ptr[usize], args))
