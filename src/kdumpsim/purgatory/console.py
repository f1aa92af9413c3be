# SPDX-License-Identifier: GPL-2.0-or-later
"""The only way out that purgatory has: the first serial port, polled (16550 data sheet: LSR bit 5, THRE)."""

from __future__ import annotations

from kdumpsim.compiler.lang import asm, asm_value, cstr, guest, ptr, u8, u16, u32, usize

COM1 = 0x3F8
LSR = 5
LSR_THRE = 0x20
PATIENCE = 100000
"""Polls of the line status before a character is given up: a missing port must not hold up a dump."""


@guest
def putchar(character: u8) -> None:
    """Send one character once the transmitter is free."""
    polls: u32 = 0
    while (asm_value(u8, "inb %dx, %al", "={al},{dx}", u16(COM1 + LSR)) & LSR_THRE) == 0 and polls < PATIENCE:
        polls += 1
    asm("outb %al, %dx", "{al},{dx}", character, u16(COM1))


@guest
def puts(text: cstr) -> None:
    """Send a string; newlines get the carriage return a terminal wants."""
    at: u32 = 0
    while text[at] != 0:
        if text[at] == ord("\n"):
            putchar(ord("\r"))
        putchar(text[at])
        at += 1


@guest
def put_digest(digest: ptr[u8], size: usize) -> None:
    """Send `size` bytes as hexadecimal digits."""
    digits: cstr = "0123456789abcdef"
    for i in range(size):
        putchar(digits[digest[i] >> 4])
        putchar(digits[digest[i] & 15])
