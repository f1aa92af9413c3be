# SPDX-License-Identifier: GPL-2.0-or-later
"""hello [crash|port|spin|fork|uname]: say hello with one's arguments.

Or write to where nothing is, touch an I/O port, spin, have a child that says hello, too, name the kernel."""

from __future__ import annotations

from kdumpsim.compiler.lang import addr, asm, cast, cstr, guest, i32, ptr, u8, u16, u32
from kdumpsim.userland.lib import Utsname, exit, fork, getpid, put_number, puts, strcmp, uname, waitpid


@guest
def have_child() -> None:
    """Fork; the child changes what it has a copy of, the parent waits for it and shows its own."""
    mine: i32 = 1
    status: i32 = 0
    child = fork()
    if child == 0:
        mine = 2
        puts("child of fork: ")
        put_number(mine)
        puts("\n")
        exit(3)
    waitpid(child, addr(status), 0)
    puts("parent: ")
    put_number(mine)
    puts(", its child ended with ")
    put_number(status >> 8)
    puts("\n")


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
    if argc > 1 and strcmp(argv[1], "fork") == 0:
        have_child()
    if argc > 1 and strcmp(argv[1], "uname") == 0:
        name: Utsname = Utsname()
        uname(name)
        puts(name.sysname)
        puts(" ")
        puts(name.release)
        puts("\n")
    while argc > 1 and strcmp(argv[1], "spin") == 0:
        pass
    return i32(argc) - 1
