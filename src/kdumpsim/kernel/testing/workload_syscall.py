# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel threads started by a process: the workloads of workload.py, by a system call of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpsim.compiler.lang import array, guest, i32, length, placed, ptr, u8
from kdumpsim.kernel.architecture import strncpy_from_user
from kdumpsim.kernel.core.syscalls import NR_start_workload, Syscall
from kdumpsim.kernel.testing.workload import MAX_ARGUMENT, start_workload

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs


@guest
def sys_start_workload(regs: ptr[PtRegs]) -> i32:
    """start_workload(name, argument): its pid, or -ENOENT."""
    name: array[u8] = length(MAX_ARGUMENT)
    argument: array[u8] = length(MAX_ARGUMENT)
    error = strncpy_from_user(name, regs.ebx, MAX_ARGUMENT)
    if error >= 0:
        error = strncpy_from_user(argument, regs.ecx, MAX_ARGUMENT)
    return error if error < 0 else start_workload(name, argument)


_syscall_start_workload: Syscall = placed("syscalls", Syscall(nr=NR_start_workload, call=sys_start_workload))
