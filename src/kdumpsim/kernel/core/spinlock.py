# SPDX-License-Identifier: GPL-2.0-or-later
"""Spinlocks and preemption counting (kernel/spinlock.c, include/linux/{spinlock,preempt}.h).

As in 2.6.16 with CONFIG_PREEMPT a CPU that finds a lock taken waits with preemption, and interrupts if the caller had
them on, enabled between its attempts.  `slock` is 1 when free, as on i386 of that time.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import addr, barrier, extern, guest, load_volatile, ptr, store_volatile, u32, xchg
from kdumpsim.kernel.architecture import (
    TIF_NEED_RESCHED,
    cpu_relax,
    current_thread_info,
    local_irq_enable,
    local_irq_restore,
    local_irq_save,
)
from kdumpsim.kernel.core.config import PREEMPT
from kdumpsim.kernel.core.spinlock_types import Spinlock as Spinlock


@extern
def preempt_schedule() -> None:
    """Let a more urgent task run; sched.py."""


@guest
def preempt_disable() -> None:
    """Keep this task on its CPU until the matching preempt_enable()."""
    current_thread_info().preempt_count += 1
    barrier()


@guest
def preempt_enable_no_resched() -> None:
    """Undo preempt_disable() without looking whether somebody waits for the CPU."""
    barrier()
    current_thread_info().preempt_count -= 1


@guest
def need_resched() -> bool:
    """Whether a more urgent task waits for this CPU."""
    return load_volatile(addr(current_thread_info().flags)) & (1 << TIF_NEED_RESCHED) != 0


@guest
def preempt_enable() -> None:
    """Undo preempt_disable(), and give way at once if a more urgent task waits."""
    barrier()
    info = current_thread_info()
    info.preempt_count -= 1
    if PREEMPT:
        if info.preempt_count == 0 and need_resched():
            preempt_schedule()


@guest
def spin_lock_init(lock: ptr[Spinlock]) -> None:
    """Make `lock` a free lock."""
    lock.slock = 1
    lock.owner_cpu = 0


@guest
def raw_spin_trylock(lock: ptr[Spinlock]) -> bool:
    """One attempt at `lock`, without touching preempt_count."""
    if load_volatile(addr(lock.slock)) == 0 or xchg(addr(lock.slock), 0) == 0:
        return False
    lock.owner_cpu = current_thread_info().cpu
    return True


@guest
def raw_spin_unlock(lock: ptr[Spinlock]) -> None:
    """Free `lock`, without touching preempt_count."""
    barrier()
    store_volatile(addr(lock.slock), 1)


@guest
def spin_is_locked(lock: ptr[Spinlock]) -> bool:
    """Whether anybody holds `lock` just now."""
    return load_volatile(addr(lock.slock)) == 0


@guest
def spin_trylock(lock: ptr[Spinlock]) -> bool:
    """Take `lock` if it is free."""
    preempt_disable()
    if raw_spin_trylock(lock):
        return True
    preempt_enable()
    return False


@guest
def spin_lock(lock: ptr[Spinlock]) -> None:
    """Take `lock`, waiting for it."""
    while True:
        preempt_disable()
        if raw_spin_trylock(lock):
            return
        preempt_enable()
        while spin_is_locked(lock):
            cpu_relax()


@guest
def spin_unlock(lock: ptr[Spinlock]) -> None:
    """Free `lock`; a more urgent task that waits runs here."""
    raw_spin_unlock(lock)
    preempt_enable()


@guest
def spin_lock_irqsave(lock: ptr[Spinlock]) -> u32:
    """Take `lock` with interrupts off; the answer belongs to spin_unlock_irqrestore()."""
    while True:
        preempt_disable()
        flags = local_irq_save()
        if raw_spin_trylock(lock):
            return flags
        local_irq_restore(flags)
        preempt_enable()
        while spin_is_locked(lock):
            cpu_relax()


@guest
def spin_unlock_irqrestore(lock: ptr[Spinlock], flags: u32) -> None:
    """Free `lock` and let interrupts be as they were."""
    raw_spin_unlock(lock)
    local_irq_restore(flags)
    preempt_enable()


@guest
def spin_lock_irq(lock: ptr[Spinlock]) -> None:
    """Take `lock` with interrupts off, for callers that have them on."""
    spin_lock_irqsave(lock)


@guest
def spin_unlock_irq(lock: ptr[Spinlock]) -> None:
    """Free `lock` and turn interrupts on."""
    raw_spin_unlock(lock)
    local_irq_enable()
    preempt_enable()
