# SPDX-License-Identifier: GPL-2.0-or-later
"""System calls: the table, and the calls that belong nowhere else (arch/i386/kernel/syscall_table.S, kernel/sys.c).

A module adds a call with `placed("syscalls", Syscall(nr=..., call=...))`.  Numbers and arguments are Linux/i386's, in
EBX, ECX, EDX, ESI, EDI; the result goes to EAX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    array,
    fn,
    guest,
    i32,
    length,
    placed,
    ptr,
    section,
    sizeof,
    u32,
    u64,
)
from kdumpsim.kernel.architecture import (
    copy_from_user,
    copy_to_user,
    cpu_online,
    current,
    machine_halt,
    machine_restart,
)
from kdumpsim.kernel.core.config import HRTIMERS, NR_CPUS
from kdumpsim.kernel.core.hrtimer import hrtimer_nanosleep
from kdumpsim.kernel.core.kexec import kernel_kexec
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.sched import set_cpus_allowed, signal_pending, yield_cpu
from kdumpsim.kernel.core.sched_types import TASK_INTERRUPTIBLE
from kdumpsim.kernel.core.syscalls import (
    NR_getpid,
    NR_nanosleep,
    NR_reboot,
    NR_sched_setaffinity,
    NR_sched_yield,
    NR_syscalls,
    NR_time,
    NR_uname,
    Syscall,
)
from kdumpsim.kernel.core.time_types import Timespec
from kdumpsim.kernel.core.timer import get_seconds, schedule_timeout, timespec_to_jiffies
from kdumpsim.kernel.core.types import EFAULT, EINTR, EINVAL, ENOSYS
from kdumpsim.kernel.core.version import NewUtsname, system_utsname

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs


LINUX_REBOOT_MAGIC1: Final = 0xFEE1DEAD
LINUX_REBOOT_MAGIC2: Final = 672274793
LINUX_REBOOT_CMD_RESTART: Final = 0x01234567
LINUX_REBOOT_CMD_HALT: Final = 0xCDEF0123
LINUX_REBOOT_CMD_KEXEC: Final = 0x45584543
NSEC_PER_SEC: Final = 1_000_000_000


sys_call_table: array[fn[[ptr[PtRegs]], i32]] = length(NR_syscalls)


@guest
def syscalls_init() -> i32:
    """Fill in the table."""
    for entry in section("syscalls", Syscall):
        sys_call_table[entry.nr] = entry.call
    return 0


@guest
def do_system_call(regs: ptr[PtRegs]) -> None:
    """INT 0x80."""
    nr = u32(regs.orig_eax)
    if nr >= NR_syscalls or sys_call_table[nr] == NULL:
        regs.eax = u32(-ENOSYS)
        return
    regs.eax = u32(sys_call_table[nr](regs))


@guest
def sys_getpid(regs: ptr[PtRegs]) -> i32:
    """getpid()"""
    return current().pid


@guest
def sys_time(regs: ptr[PtRegs]) -> i32:
    """time(where): seconds from 1970 on, also to `where` if that is not NULL."""
    now = get_seconds()
    if regs.ebx != 0 and copy_to_user(regs.ebx, addr(now), 4) != 0:
        return -EFAULT
    return i32(now)


@guest
def sys_sched_yield(regs: ptr[PtRegs]) -> i32:
    """sched_yield()"""
    yield_cpu()
    return 0


@guest
def sys_nanosleep(regs: ptr[PtRegs]) -> i32:
    """nanosleep(request, remaining); what remains is not told."""
    request: Timespec = Timespec()
    if copy_from_user(request, regs.ebx, sizeof(Timespec)) != 0:
        return -EFAULT
    if request.tv_nsec >= NSEC_PER_SEC or request.tv_sec > 0x7FFF_FFFF:
        return -EINVAL
    if HRTIMERS:
        hrtimer_nanosleep(u64(request.tv_sec) * NSEC_PER_SEC + request.tv_nsec)
    else:
        current().state = TASK_INTERRUPTIBLE
        schedule_timeout(timespec_to_jiffies(request) + 1)
    return -EINTR if signal_pending() else 0


@guest
def sys_sched_setaffinity(regs: ptr[PtRegs]) -> i32:
    """sched_setaffinity(0, size, mask) of this process: it counts from its next wake-up on, and for its children."""
    mask: u32 = 0
    if regs.ebx != 0 or regs.ecx < 4:
        return -EINVAL
    if copy_from_user(addr(mask), regs.edx, 4) != 0:
        return -EFAULT
    online: u32 = 0
    for cpu in range(NR_CPUS):
        if cpu_online(cpu):
            online |= 1 << cpu
    if mask & online == 0:
        return -EINVAL
    set_cpus_allowed(current(), mask)
    return 0


@guest
def sys_newuname(regs: ptr[PtRegs]) -> i32:
    """uname(name)"""
    return -EFAULT if copy_to_user(regs.ebx, system_utsname, sizeof(NewUtsname)) != 0 else 0


@guest
def sys_reboot(regs: ptr[PtRegs]) -> i32:
    """reboot(magic1, magic2, command)"""
    if regs.ebx != LINUX_REBOOT_MAGIC1 or regs.ecx != LINUX_REBOOT_MAGIC2:
        return -EINVAL
    if regs.edx == LINUX_REBOOT_CMD_RESTART:
        printk("<0>Restarting system.\n")
        machine_restart()
    if regs.edx == LINUX_REBOOT_CMD_HALT:
        printk("<0>System halted.\n")
        machine_halt()
    if regs.edx == LINUX_REBOOT_CMD_KEXEC:
        return kernel_kexec()
    return -EINVAL


_init_syscalls: fn[[], i32] = placed("initcall1", syscalls_init)
_syscall_getpid: Syscall = placed("syscalls", Syscall(nr=NR_getpid, call=sys_getpid))
_syscall_sched_yield: Syscall = placed("syscalls", Syscall(nr=NR_sched_yield, call=sys_sched_yield))
_syscall_time: Syscall = placed("syscalls", Syscall(nr=NR_time, call=sys_time))
_syscall_newuname: Syscall = placed("syscalls", Syscall(nr=NR_uname, call=sys_newuname))
_syscall_nanosleep: Syscall = placed("syscalls", Syscall(nr=NR_nanosleep, call=sys_nanosleep))
_syscall_sched_setaffinity: Syscall = placed("syscalls", Syscall(nr=NR_sched_setaffinity, call=sys_sched_setaffinity))
_syscall_reboot: Syscall = placed("syscalls", Syscall(nr=NR_reboot, call=sys_reboot))
