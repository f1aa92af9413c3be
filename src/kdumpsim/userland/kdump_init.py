# SPDX-License-Identifier: GPL-2.0-or-later
"""/init of the capture kernel's initramfs: run savecore, say so if it failed, restart the machine."""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, addr, array, cstr, guest, i32, length, ptr, u32
from kdumpsim.userland.lib import RB_AUTOBOOT, put_number, puts, reboot, spawn, waitpid

SAVECORE: cstr = "/sbin/savecore"


@guest
def complain(what: cstr, number: i32) -> None:
    """Say on the console what became of savecore."""
    puts("init: ")
    puts(SAVECORE)
    puts(what)
    put_number(number)
    puts("\n")


@guest
def main(argc: u32, argv: ptr[cstr]) -> i32:
    """The program; it ends with the machine's restart."""
    child: array[cstr] = length(2)
    child[0] = SAVECORE
    child[1] = NULL
    status: i32 = 0
    pid = spawn(SAVECORE, child)
    if pid < 0:
        complain(" cannot be started: error ", -pid)
    else:
        waitpid(pid, addr(status), 0)
        if status & 0x7F != 0:
            complain(" was killed by signal ", status & 0x7F)
        elif status != 0:
            complain(" failed with exit code ", status >> 8)
    return reboot(RB_AUTOBOOT)
