# SPDX-License-Identifier: GPL-2.0-or-later
"""kexec_load as a system call: the segments are the caller's (kernel/kexec.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpsim.compiler.lang import array, guest, i32, length, placed, ptr, sizeof, usize
from kdumpsim.kernel.architecture import access_ok, copy_from_user
from kdumpsim.kernel.core.kexec import sys_kexec_load
from kdumpsim.kernel.core.kexec_types import KEXEC_SEGMENT_MAX, KexecSegment
from kdumpsim.kernel.core.syscalls import NR_kexec_load, Syscall
from kdumpsim.kernel.core.types import EFAULT, EINVAL

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs


@guest
def sys_kexec_load_user(regs: ptr[PtRegs]) -> i32:
    """kexec_load(entry, nr_segments, segments, flags): what the segments point to is copied as it is needed."""
    segments: array[KexecSegment] = length(KEXEC_SEGMENT_MAX)
    nr = regs.ecx
    if nr > KEXEC_SEGMENT_MAX:
        return -EINVAL
    if copy_from_user(segments, regs.edx, nr * sizeof(KexecSegment)) != 0:
        return -EFAULT
    for i in range(nr):
        if not access_ok(usize(segments[i].buf), segments[i].bufsz):
            return -EFAULT
    return sys_kexec_load(regs.ebx, nr, segments, regs.esi)


_syscall_kexec_load: Syscall = placed("syscalls", Syscall(nr=NR_kexec_load, call=sys_kexec_load_user))
