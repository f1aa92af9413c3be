# SPDX-License-Identifier: GPL-2.0-or-later
"""Jiffies and the timers that count in them (kernel/timer.c).

Each CPU has five rings of lists.  The lowest has a list for each of the next 256 jiffies.  Timers that are further off
hang in a higher ring, whose lists stand for 256, 16384 and so on jiffies; they are dealt out anew when the ring below
has gone round.  Timers run in the TIMER softirq of the CPU that added them.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    array,
    cast,
    extern,
    fn,
    guest,
    i32,
    length,
    load_volatile,
    placed,
    ptr,
    u32,
    usize,
)
from kdumpsim.kernel.architecture import cpu_relax, current, smp_processor_id
from kdumpsim.kernel.core.config import HRTIMERS, HZ, NR_CPUS
from kdumpsim.kernel.core.hrtimer import TIMERADD, hrtimer_run_queues
from kdumpsim.kernel.core.list import init_list_head, list_add_tail, list_del, list_empty, list_splice_init
from kdumpsim.kernel.core.percpu import per_cpu_ptr
from kdumpsim.kernel.core.rcupdate import rcu_check_callbacks, rcu_pending
from kdumpsim.kernel.core.sched import count_active_tasks, idle_cpu, schedule, scheduler_tick, wake_up_process
from kdumpsim.kernel.core.sched_types import TASK_UNINTERRUPTIBLE, TaskStruct
from kdumpsim.kernel.core.softirq import SoftirqVector, open_softirq, raise_softirq
from kdumpsim.kernel.core.spinlock import (
    spin_lock_init,
    spin_lock_irq,
    spin_lock_irqsave,
    spin_unlock_irq,
    spin_unlock_irqrestore,
)
from kdumpsim.kernel.core.time_types import Timespec
from kdumpsim.kernel.core.timer_types import (
    TVN_BITS,
    TVN_SIZE,
    TVR_BITS,
    TVR_SIZE,
    TimerBaseS,
    TimerList,
    TvecS,
    TvecTBaseS,
)
from kdumpsim.kernel.core.types import ListHead
from kdumpsim.kernel.lkdtt.cpoint import cpoint

TVN_MASK: Final = TVN_SIZE - 1
TVR_MASK: Final = TVR_SIZE - 1

MAX_SCHEDULE_TIMEOUT: Final = 0x7FFFFFFF
"""schedule_timeout() without a timeout."""


jiffies: u32 = 0
"""Ticks since boot; one CPU counts them."""

xtime: Timespec = Timespec()
"""What time it is, in steps of a tick; the architecture sets it."""
NSEC_PER_SEC: Final = 1_000_000_000

TICK_NSEC: Final = NSEC_PER_SEC // HZ
MAX_SECONDS: Final = MAX_SCHEDULE_TIMEOUT // HZ - 2
"""What jiffies can tell from the past."""

FSHIFT: Final = 11
FIXED_1: Final = 1 << FSHIFT
"""1.0 as a fixed-point number."""
LOAD_FREQ: Final = 5 * HZ
EXP_1: Final = 1884
"""1/exp(5 s/1 min) as a fixed-point number; the next are those of 5 and 15 minutes (include/linux/sched.h)."""
EXP_5: Final = 2014
EXP_15: Final = 2037

avenrun: array[u32] = length(3)
"""The load averages over 1, 5 and 15 minutes, as fixed-point numbers."""
calc_load_count: u32 = LOAD_FREQ
tvec_bases: TvecTBaseS = placed("percpu", TvecTBaseS())
"""Each CPU's own."""


@guest
def time_after_eq(a: u32, b: u32) -> bool:
    """Whether jiffy `a` is `b` or later, across the wrap."""
    return i32(a - b) >= 0


@guest
def tvec_base(cpu: u32) -> ptr[TvecTBaseS]:
    """A CPU's timers."""
    return cast(ptr[TvecTBaseS], per_cpu_ptr(tvec_bases, cpu))


@guest
def init_timers_cpu(cpu: u32) -> None:
    """Make empty rings."""
    base = tvec_base(cpu)
    spin_lock_init(base.t_base.lock)
    for i in range(TVN_SIZE):
        init_list_head(base.tv2.vec[i])
        init_list_head(base.tv3.vec[i])
        init_list_head(base.tv4.vec[i])
        init_list_head(base.tv5.vec[i])
    for i in range(TVR_SIZE):
        init_list_head(base.tv1.vec[i])
    base.timer_jiffies = jiffies


@guest
def init_timers() -> None:
    """Every CPU's."""
    for cpu in range(NR_CPUS):
        init_timers_cpu(cpu)
    open_softirq(SoftirqVector.TIMER_SOFTIRQ, run_timer_softirq)


@guest
def init_timer(timer: ptr[TimerList]) -> None:
    """Make a timer that is not pending."""
    timer.base = NULL


@guest
def setup_timer(timer: ptr[TimerList], function: fn[[usize], None], data: usize) -> None:
    """init_timer() with the function to call and what to give it."""
    timer.base = NULL
    timer.function = function
    timer.data = data


@guest
def tvec_index(jiffy: u32, ring: u32) -> u32:
    """Which list of tv2 (0) to tv5 (3) a jiffy belongs to."""
    return jiffy >> (TVR_BITS + ring * TVN_BITS) & TVN_MASK


@guest
def internal_add_timer(base: ptr[TvecTBaseS], timer: ptr[TimerList]) -> None:
    """Hang a timer where its jiffy will find it; one that is late goes to the next jiffy."""
    expires = timer.expires
    away = expires - base.timer_jiffies
    vec: ptr[ListHead] = base.tv1.vec[base.timer_jiffies & TVR_MASK]
    if i32(away) >= 0:
        if away < TVR_SIZE:
            vec = base.tv1.vec[expires & TVR_MASK]
        elif away < 1 << (TVR_BITS + TVN_BITS):
            vec = base.tv2.vec[tvec_index(expires, 0)]
        elif away < 1 << (TVR_BITS + 2 * TVN_BITS):
            vec = base.tv3.vec[tvec_index(expires, 1)]
        elif away < 1 << (TVR_BITS + 3 * TVN_BITS):
            vec = base.tv4.vec[tvec_index(expires, 2)]
        else:
            vec = base.tv5.vec[tvec_index(expires, 3)]
    list_add_tail(timer.entry, vec)


@guest
def del_timer(timer: ptr[TimerList]) -> bool:
    """Stop a timer; whether it was pending. Its function may still run on another CPU."""
    while True:
        base: ptr[TimerBaseS] = load_volatile(addr(timer.base))
        if base == NULL:
            return False
        flags = spin_lock_irqsave(base.lock)
        if timer.base == base:
            list_del(timer.entry)
            timer.base = NULL
            spin_unlock_irqrestore(base.lock, flags)
            return True
        spin_unlock_irqrestore(base.lock, flags)


@guest
def mod_timer(timer: ptr[TimerList], expires: u32) -> bool:
    """(Re)start a timer on this CPU; whether it was pending.

    Without hrtimers the crash point TIMERADD lies here, where the queue is locked, as it does in hrtimer_start().
    """
    pending = del_timer(timer)
    base = tvec_base(smp_processor_id())
    flags = spin_lock_irqsave(base.t_base.lock)
    if not HRTIMERS:
        cpoint(TIMERADD)
    timer.expires = expires
    timer.base = base.t_base
    internal_add_timer(base, timer)
    spin_unlock_irqrestore(base.t_base.lock, flags)
    return pending


@guest
def add_timer(timer: ptr[TimerList]) -> None:
    """Start a timer whose `expires` is set."""
    mod_timer(timer, timer.expires)


@guest
def del_timer_sync(timer: ptr[TimerList]) -> bool:
    """Stop a timer and wait until its function runs nowhere."""
    pending = del_timer(timer)
    for cpu in range(NR_CPUS):
        while load_volatile(addr(tvec_base(cpu).t_base.running_timer)) == timer:
            cpu_relax()
    return pending


@guest
def cascade(base: ptr[TvecTBaseS], tv: ptr[TvecS], index: u32) -> u32:
    """Deal a list of a higher ring out to the lower ones; its index, which is 0 when the ring itself has gone round."""
    head: ptr[ListHead] = tv.vec[index]
    while not list_empty(head):
        entry = head.next
        list_del(entry)
        internal_add_timer(base, cast(ptr[TimerList], entry))
    return index


@guest
def __run_timers(base: ptr[TvecTBaseS]) -> None:
    """Run the timers whose time has come; the lock is dropped around each."""
    work_list: ListHead = ListHead()
    head: ptr[ListHead] = work_list
    spin_lock_irq(base.t_base.lock)
    while time_after_eq(jiffies, base.timer_jiffies):
        now = base.timer_jiffies
        if now & TVR_MASK == 0 and cascade(base, base.tv2, tvec_index(now, 0)) == 0:
            if cascade(base, base.tv3, tvec_index(now, 1)) == 0 and cascade(base, base.tv4, tvec_index(now, 2)) == 0:
                cascade(base, base.tv5, tvec_index(now, 3))
        base.timer_jiffies = now + 1
        init_list_head(head)
        list_splice_init(base.tv1.vec[now & TVR_MASK], head)
        while not list_empty(head):
            timer = cast(ptr[TimerList], head.next)
            list_del(timer.entry)
            timer.base = NULL
            base.t_base.running_timer = timer
            spin_unlock_irq(base.t_base.lock)
            timer.function(timer.data)
            spin_lock_irq(base.t_base.lock)
            base.t_base.running_timer = NULL
    spin_unlock_irq(base.t_base.lock)


@guest
def run_timer_softirq() -> None:
    """The TIMER softirq: high-resolution timers, then this CPU's others up to now."""
    if HRTIMERS:
        hrtimer_run_queues()
    base = tvec_base(smp_processor_id())
    if time_after_eq(jiffies, base.timer_jiffies):
        __run_timers(base)


@guest
def run_local_timers() -> None:
    """The timer interrupt's part: have the softirq look."""
    raise_softirq(SoftirqVector.TIMER_SOFTIRQ)


@guest
def fixed_load(load: u32, exp: u32, active: u32) -> u32:
    """One step of an exponential average (CALC_LOAD)."""
    return (load * exp + active * (FIXED_1 - exp)) >> FSHIFT


@guest
def calc_load() -> None:
    """Every five seconds: bring the load averages up to date."""
    global calc_load_count
    calc_load_count -= 1
    if calc_load_count == 0:
        calc_load_count = LOAD_FREQ
        active = count_active_tasks() * FIXED_1
        avenrun[0] = fixed_load(avenrun[0], EXP_1, active)
        avenrun[1] = fixed_load(avenrun[1], EXP_5, active)
        avenrun[2] = fixed_load(avenrun[2], EXP_15, active)


@guest
def get_seconds() -> u32:
    """The time in seconds from 1970 on."""
    return xtime.tv_sec


@guest
def update_wall_time() -> None:
    """Move the clock on by a tick."""
    xtime.tv_nsec += TICK_NSEC
    if xtime.tv_nsec >= NSEC_PER_SEC:
        xtime.tv_nsec -= NSEC_PER_SEC
        xtime.tv_sec += 1


@guest
def do_timer() -> None:
    """One tick has passed; called on one CPU only."""
    global jiffies
    jiffies += 1
    update_wall_time()
    calc_load()


@extern
def softlockup_tick() -> None:
    """Whether tasks get to run on this CPU; softlockup.py."""


@guest
def update_process_times(user: bool) -> None:
    """What every CPU does every tick: account it, run timers, free what nobody reads any more, end time slices."""
    task = current()
    cpu = smp_processor_id()
    if user:
        task.utime += 1
    else:
        task.stime += 1
    run_local_timers()
    softlockup_tick()
    if rcu_pending(cpu):
        rcu_check_callbacks(cpu, user, idle_cpu(cpu))
    scheduler_tick()


@guest
def process_timeout(data: usize) -> None:
    """Timer function of schedule_timeout()."""
    wake_up_process(cast(ptr[TaskStruct], data))


@guest
def schedule_timeout(timeout: u32) -> u32:
    """Sleep until woken or for `timeout` ticks; the ticks left. The caller has set its state."""
    if timeout == MAX_SCHEDULE_TIMEOUT:
        schedule()
        return timeout
    timer: TimerList = TimerList()
    setup_timer(timer, process_timeout, usize(current()))
    expires = jiffies + timeout
    mod_timer(timer, expires)
    schedule()
    del_timer_sync(timer)
    left = expires - jiffies
    return left if i32(left) > 0 else 0


@guest
def timespec_to_jiffies(value: ptr[Timespec]) -> u32:
    """Ticks that last at least so long; about eight months at most."""
    return min(value.tv_sec, MAX_SECONDS) * HZ + (value.tv_nsec + TICK_NSEC - 1) // TICK_NSEC


@guest
def msleep(milliseconds: u32) -> None:
    """Sleep at least this long."""
    left = (milliseconds * HZ + 999) // 1000 + 1
    while left > 0:
        current().state = TASK_UNINTERRUPTIBLE
        left = schedule_timeout(left)
