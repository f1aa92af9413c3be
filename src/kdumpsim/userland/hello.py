# SPDX-License-Identifier: GPL-2.0-or-later
"""hello [crash]: say hello with one's arguments; with "crash", write to where nothing is."""

from __future__ import annotations

from kdumpsim.compiler.lang import cast, cstr, guest, i32, ptr, u32
from kdumpsim.userland.lib import getpid, put_number, puts, strcmp


@guest
def main(argc: u32, argv: ptr[cstr]) -> i32:
    """The program; its exit code is the number of its arguments."""
    puts("hello from pid ")
    put_number(getpid())
    for i in range(1, argc):
        puts(" ")
        puts(argv[i])
        if strcmp(argv[i], "crash") == 0:
            puts("\n")
            cast(ptr[u32], 0x10)[0] = 1
    puts("\n")
    return i32(argc) - 1
