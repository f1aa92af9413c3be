# SPDX-License-Identifier: GPL-2.0-or-later
"""hello [crash|port|spin]: say hello with one's arguments; or write to where nothing is, touch an I/O port, spin."""

from __future__ import annotations

from kdumpsim.compiler.lang import asm, cast, cstr, guest, i32, ptr, u8, u16, u32
from kdumpsim.userland.lib import getpid, put_number, puts, strcmp


@guest
def main(argc: u32, argv: ptr[cstr]) -> i32:
    """The program; its exit code is the number of its arguments."""
    puts("hello from pid ")
    put_number(getpid())
    for i in range(1, argc):
        puts(" ")
        puts(argv[i])
    puts("\n")
    if argc > 1 and strcmp(argv[1], "crash") == 0:
        cast(ptr[u32], 0x10)[0] = 1
    if argc > 1 and strcmp(argv[1], "port") == 0:
        asm("outb %al, %dx", "{al},{dx}", u8(0), u16(0x80))
    while argc > 1 and strcmp(argv[1], "spin") == 0:
        pass
    return i32(argc) - 1
