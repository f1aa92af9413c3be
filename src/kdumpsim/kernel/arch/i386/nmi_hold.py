# SPDX-License-Identifier: GPL-2.0-or-later
"""CPUs that are inside an NMI handler for ever: the workload ``nmihold MASK``.

A test hook, as those of `kernel/testing`, that needs the architecture's own means.

NMIs are blocked on such a CPU until an IRET that never comes, so that the NMI by which a crashing kernel stops the
others does not get through (LKDTT paper, section 5.2.3: "hangs in the NMI handler cannot be detected").
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, addr, cast, cstr, fetch_or, guest, i32, load_volatile, placed, ptr, u32, void
from kdumpsim.kernel.arch.i386.nmi import set_nmi_callback
from kdumpsim.kernel.arch.i386.processor import cpu_relax
from kdumpsim.kernel.arch.i386.ptrace import PtRegs
from kdumpsim.kernel.arch.i386.smp import NMI_VECTOR, cpu_online, send_IPI_mask
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.string import simple_strtoul
from kdumpsim.kernel.core.types import EINVAL
from kdumpsim.kernel.testing.workload import Workload

nmi_hold_mask: u32 = 0
"""CPUs that are to stay in their handler."""
nmi_held: u32 = 0
"""CPUs that are in it."""


@guest
def nmi_hold_callback(regs: ptr[PtRegs], cpu: u32) -> i32:
    """Keep a CPU of the mask; other NMIs are not ours."""
    if nmi_hold_mask >> cpu & 1 == 0:
        return 0
    fetch_or(addr(nmi_held), u32(1) << cpu)
    while True:
        cpu_relax()


@guest
def nmihold(argument: ptr[void]) -> i32:
    """The thread: send the NMIs and wait until every CPU of the mask is in its handler."""
    global nmi_hold_mask
    asked: u32 = simple_strtoul(cast(cstr, argument), NULL, 16)
    mask: u32 = 0
    for cpu in range(NR_CPUS):
        if asked >> cpu & 1 and cpu_online(cpu):
            mask |= u32(1) << cpu
    if mask == 0:
        return -EINVAL
    nmi_hold_mask = mask
    set_nmi_callback(nmi_hold_callback)
    send_IPI_mask(mask, NMI_VECTOR)
    while load_volatile(addr(nmi_held)) != mask:
        cpu_relax()
    return 0


_workload_nmihold: Workload = placed("workloads", Workload(name="nmihold", main=nmihold))
