# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory and string functions (lib/string.c, lib/vsprintf.c's simple_strtoul).

memcpy, memset, memmove and memcmp may also be called by the compiler on its own account.  Their bulk work is done by
the architecture's copy_words() and clear_words().
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, cast, cstr, guest, i32, ptr, u8, u32, u64, usize, void
from kdumpsim.kernel.architecture import clear_words, copy_words


@guest
def memcpy(dest: ptr[void], src: ptr[void], count: usize) -> ptr[void]:
    """Copy `count` bytes between ranges that do not overlap."""
    words = count >> 2
    copy_words(cast(ptr[u32], dest), cast(ptr[u32], src), words)
    to = cast(ptr[u8], dest)
    source = cast(ptr[u8], src)
    i = words << 2
    while i < count:
        to[i] = source[i]
        i += 1
    return dest


@guest
def memset(dest: ptr[void], value: i32, count: usize) -> ptr[void]:
    """Fill `count` bytes with the low byte of `value`."""
    to = cast(ptr[u8], dest)
    byte = u8(value)
    i: usize = 0
    if byte == 0:
        clear_words(cast(ptr[u32], dest), count >> 2)
        i = count & ~3
    while i < count:
        to[i] = byte
        i += 1
    return dest


@guest
def memmove(dest: ptr[void], src: ptr[void], count: usize) -> ptr[void]:
    """Copy `count` bytes between ranges that may overlap."""
    to = cast(ptr[u8], dest)
    source = cast(ptr[u8], src)
    if usize(dest) <= usize(src):
        i: usize = 0
        while i < count:
            to[i] = source[i]
            i += 1
    else:
        left = count
        while left > 0:
            left -= 1
            to[left] = source[left]
    return dest


@guest
def memcmp(a: ptr[void], b: ptr[void], count: usize) -> i32:
    """Compare bytes: negative, 0 or positive by the first that differ."""
    first = cast(ptr[u8], a)
    second = cast(ptr[u8], b)
    i: usize = 0
    while i < count:
        if first[i] != second[i]:
            return i32(first[i]) - i32(second[i])
        i += 1
    return 0


@guest
def strlen(s: cstr) -> usize:
    """Bytes before the NUL."""
    n: u32 = 0
    while s[n] != 0:
        n += 1
    return n


@guest
def strnlen(s: cstr, limit: usize) -> usize:
    """Bytes before the NUL, at most `limit`."""
    n: u32 = 0
    while n < limit and s[n] != 0:
        n += 1
    return n


@guest
def strcmp(a: cstr, b: cstr) -> i32:
    """Compare two strings."""
    i: usize = 0
    while a[i] == b[i]:
        if a[i] == 0:
            return 0
        i += 1
    return i32(a[i]) - i32(b[i])


@guest
def strncmp(a: cstr, b: cstr, limit: usize) -> i32:
    """Compare at most `limit` bytes of two strings."""
    i: usize = 0
    while i < limit:
        if a[i] != b[i]:
            return i32(a[i]) - i32(b[i])
        if a[i] == 0:
            return 0
        i += 1
    return 0


@guest
def strcpy(dest: ptr[u8], src: cstr) -> ptr[u8]:
    """Copy a string with its NUL."""
    i: usize = 0
    while src[i] != 0:
        dest[i] = src[i]
        i += 1
    dest[i] = 0
    return dest


@guest
def strlcpy(dest: ptr[u8], src: cstr, size: usize) -> usize:
    """Copy a string into `size` bytes, cut if need be and always with a NUL; the source's length."""
    n = strlen(src)
    if size > 0:
        room = size - 1
        if n < room:
            room = n
        i: usize = 0
        while i < room:
            dest[i] = src[i]
            i += 1
        dest[room] = 0
    return n


@guest
def strchr(s: cstr, c: u8) -> cstr:
    """First place of `c` in `s`, or NULL."""
    i: usize = 0
    while s[i] != c:
        if s[i] == 0:
            return NULL
        i += 1
    return s + i


@guest
def strstr(haystack: cstr, needle: cstr) -> cstr:
    """First place of `needle` in `haystack`, or NULL."""
    n = strlen(needle)
    i: usize = 0
    while True:
        if strncmp(haystack + i, needle, n) == 0:
            return haystack + i
        if haystack[i] == 0:
            return NULL
        i += 1


@guest
def digit_value(c: u8) -> u32:
    """Value of a digit in bases up to 36, or 255."""
    if ord("0") <= c <= ord("9"):
        return u32(c) - ord("0")
    if ord("a") <= c <= ord("z"):
        return u32(c) - ord("a") + 10
    if ord("A") <= c <= ord("Z"):
        return u32(c) - ord("A") + 10
    return 255


@guest
def simple_strtoull(s: cstr, endp: ptr[cstr], base: u32) -> u64:
    """Number at the start of `s`; base 0 understands 0x and a leading 0. `endp`, if not NULL, gets where it ended."""
    i: usize = 0
    if s[0] == ord("0") and (s[1] == ord("x") or s[1] == ord("X")) and digit_value(s[2]) < 16:
        if base == 0 or base == 16:
            base = 16
            i = 2
    elif base == 0 and s[0] == ord("0"):
        base = 8
    if base == 0:
        base = 10
    value = u64(0)
    while digit_value(s[i]) < base:
        value = value * base + digit_value(s[i])
        i += 1
    if endp != NULL:
        endp[0] = s + i
    return value


@guest
def simple_strtoul(s: cstr, endp: ptr[cstr], base: u32) -> u32:
    """simple_strtoull() for 32 bits."""
    return u32(simple_strtoull(s, endp, base))
