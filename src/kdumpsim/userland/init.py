# SPDX-License-Identifier: GPL-2.0-or-later
"""init: the first process.  It starts the agent, again if that dies, and buries whoever has lost its parent."""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, array, cstr, guest, i32, length, ptr, u32
from kdumpsim.userland.lib import nanosleep, put_number, puts, spawn, waitpid


@guest
def start(path: cstr) -> i32:
    """Start a program without arguments; its pid or a negative errno."""
    argv: array[cstr] = length(2)
    argv[0] = path
    argv[1] = NULL
    pid = spawn(path, argv)
    if pid < 0:
        puts("init: cannot start ")
        puts(path)
        puts(": error ")
        put_number(-pid)
        puts("\n")
    return pid


@guest
def main(argc: u32, argv: ptr[cstr]) -> i32:
    """The program; it never ends."""
    agent = start("/sbin/agent")
    while True:
        pid = waitpid(-1, NULL, 0)
        if pid < 0:
            nanosleep(3600, 0)
        elif pid == agent:
            nanosleep(1, 0)
            agent = start("/sbin/agent")
