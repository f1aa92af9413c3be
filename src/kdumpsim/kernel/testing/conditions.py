# SPDX-License-Identifier: GPL-2.0-or-later
"""Conditions a crash may find other CPUs in, and bringing interrupts to the CPU that is to crash.

Test hooks, not part of any Linux.  The workload ``spin MASK`` takes the CPUs of a mask away for ever, with interrupts
off.  /proc/irq/smp_affinity takes a hexadecimal mask of CPUs for all interrupt lines at once; Linux has
a file for each line; /proc/self/cpus_allowed one for the task that writes it, which moves when it next wakes up.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, addr, cast, cstr, fn, guest, i32, placed, ptr, u32, usize, void
from kdumpsim.kernel.architecture import cpu_online, cpu_relax, current, local_irq_disable
from kdumpsim.kernel.core.config import NR_CPUS, NR_IRQS
from kdumpsim.kernel.core.irq import irq_desc
from kdumpsim.kernel.core.irq_types import IrqDesc
from kdumpsim.kernel.core.kthread import kernel_thread_on_cpu
from kdumpsim.kernel.core.sched import set_cpus_allowed
from kdumpsim.kernel.core.spinlock import spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.string import simple_strtoul
from kdumpsim.kernel.core.types import EINVAL
from kdumpsim.kernel.fs.proc import register_proc
from kdumpsim.kernel.testing.workload import Workload


@guest
def irq_set_affinity(irq: u32, mask: u32) -> None:
    """Send a line's interrupts to these CPUs, where its controller can."""
    desc: ptr[IrqDesc] = irq_desc[irq]
    flags = spin_lock_irqsave(desc.lock)
    desc.affinity = mask
    if desc.action != NULL and desc.handler.set_affinity != NULL:
        desc.handler.set_affinity(irq, mask)
    spin_unlock_irqrestore(desc.lock, flags)


@guest
def parse_online_mask(text: cstr) -> u32:
    """The CPUs of a mask that are there; 0 if there are none, or if it is no mask."""
    rest: cstr = NULL
    asked: u32 = simple_strtoul(text, addr(rest), 16)
    if rest == text or rest[0] != 0:
        return 0
    mask: u32 = 0
    for cpu in range(NR_CPUS):
        if asked >> cpu & 1 and cpu_online(cpu):
            mask |= 1 << cpu
    return mask


@guest
def spin_here(unused: ptr[void]) -> i32:
    """The thread of one CPU, which does nothing else any more, and hears NMIs only."""
    local_irq_disable()
    while True:
        cpu_relax()


@guest
def spin(argument: ptr[void]) -> i32:
    """Start a thread on each CPU of the mask."""
    mask: u32 = parse_online_mask(cast(cstr, argument))
    if mask == 0:
        return -EINVAL
    for cpu in range(NR_CPUS):
        if mask >> cpu & 1:
            kernel_thread_on_cpu(spin_here, NULL, "spin", cpu)
    return 0


@guest
def irq_affinity_store(text: cstr, count: usize) -> i32:
    """A mask was written to /proc/irq/smp_affinity."""
    mask: u32 = parse_online_mask(text)
    if mask == 0:
        return -EINVAL
    for irq in range(NR_IRQS):
        irq_set_affinity(irq, mask)
    return 0


@guest
def cpus_allowed_store(text: cstr, count: usize) -> i32:
    """A mask was written to /proc/self/cpus_allowed."""
    mask: u32 = parse_online_mask(text)
    if mask == 0:
        return -EINVAL
    set_cpus_allowed(current(), mask)
    return 0


@guest
def conditions_init() -> i32:
    """Make the files."""
    register_proc("/proc/self/cpus_allowed", NULL, cpus_allowed_store)
    return register_proc("/proc/irq/smp_affinity", NULL, irq_affinity_store)


_workload_spin: Workload = placed("workloads", Workload(name="spin", main=spin))
_init_conditions: fn[[], i32] = placed("initcall5", conditions_init)
