# SPDX-License-Identifier: GPL-2.0-or-later
"""System calls' numbers, and how a module adds one (include/asm-i386/unistd.h, include/linux/syscalls.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import Struct, fn, i32, ptr, u32

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs


NR_exit: Final = 1
NR_fork: Final = 2
NR_read: Final = 3
NR_write: Final = 4
NR_open: Final = 5
NR_close: Final = 6
NR_waitpid: Final = 7
NR_execve: Final = 11
NR_time: Final = 13
NR_lseek: Final = 19
NR_getpid: Final = 20
NR_kill: Final = 37
NR_brk: Final = 45
NR_reboot: Final = 88
NR_socketcall: Final = 102
NR_fsync: Final = 118
NR_uname: Final = 122
NR__llseek: Final = 140
NR_sched_yield: Final = 158
NR_nanosleep: Final = 162
NR_sendfile: Final = 187
NR_fadvise64: Final = 250
NR_sched_setaffinity: Final = 241
NR_kexec_load: Final = 283
NR_spawn: Final = 512
"""Ours: fork and execve in one."""
NR_start_workload: Final = 513
"""Ours: start a thread of the kernel by its name."""
NR_syscalls: Final = 514


class Syscall(Struct):
    """A system call's number and what does it."""

    nr: u32
    call: fn[[ptr[PtRegs]], i32]
