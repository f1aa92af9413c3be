# SPDX-License-Identifier: GPL-2.0-or-later
"""The soft-lockup watchdog: finds CPUs on which no task gets to run (kernel/softlockup.c of 2.6.16).

Every CPU has a thread of the highest priority that takes the time once a second.  The timer interrupt looks how old
that time is.  Interrupts have to be on for that, so what it finds are loops in which nothing can be scheduled:
softirqs, tasklets, interrupt handlers, code that has disabled preemption.

2.6.16 looks in do_timer(), that is, on the CPU that counts jiffies only; as from 2.6.17 on, every CPU looks after
itself here.

Jiffies stand still while a level-triggered interrupt of a higher priority than the timer's is being served, and with
them this watchdog.  With softlockup_clock=local each CPU counts its own timer's interrupts, and its tick wakes its
thread: 2.6.23 goes by cpu_clock(), which is each CPU's own, and has the tick wake the thread.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, array, cstr, guest, i32, length, placed, ptr, u8, u32, void
from kdumpsim.kernel.architecture import cpu_online, current, dump_stack, smp_processor_id
from kdumpsim.kernel.core.config import FAULT_CHECKS, HZ, NR_CPUS
from kdumpsim.kernel.core.kthread import kernel_thread_on_cpu
from kdumpsim.kernel.core.panic import panic
from kdumpsim.kernel.core.params import ObsKernelParam
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.sched import schedule, set_task_prio, wake_up_process
from kdumpsim.kernel.core.sched_types import TASK_INTERRUPTIBLE, TaskStruct
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_unlock
from kdumpsim.kernel.core.string import simple_strtoul, strcmp
from kdumpsim.kernel.core.timer import jiffies, schedule_timeout, time_after_eq
from kdumpsim.kernel.core.vsprintf import snprintf

softlockup_off: bool = False
softlockup_panic: bool = False
"""Whether a soft lockup is the end (softlockup=panic); 2.6.16 knew no such thing, it only printed."""
watchdog_thresh: u32 = 5
"""Seconds until the NMI watchdog calls a CPU locked up; the soft-lockup watchdog waits twice as long, as in 2.6.16."""

softlockup_local: bool = False
"""Whether time is told by each CPU's own ticks (softlockup_clock=local), not by jiffies."""
local_ticks: array[u32] = length(NR_CPUS)
"""Timer interrupts that each CPU has taken."""
touch_timestamp: array[u32] = length(NR_CPUS)
"""When each CPU's thread last ran, in jiffies or its own ticks."""
print_timestamp: array[u32] = length(NR_CPUS)
"""The time of touch_timestamp that was complained about last: once is enough."""
print_lock: Spinlock = Spinlock(slock=1)
watchdog_task: array[ptr[TaskStruct]] = length(NR_CPUS)


@guest
def softlockup_time(cpu: u32) -> u32:
    """What time it is to a CPU's watchdog."""
    return local_ticks[cpu] if softlockup_local else jiffies


@guest
def touch_softlockup_watchdog() -> None:
    """This CPU is all right."""
    cpu = smp_processor_id()
    touch_timestamp[cpu] = softlockup_time(cpu)


@guest
def softlockup_tick() -> None:
    """The timer interrupt's part."""
    cpu = smp_processor_id()
    local_ticks[cpu] += 1
    if watchdog_task[cpu] == NULL:
        return
    timestamp = touch_timestamp[cpu]
    now = softlockup_time(cpu)
    if softlockup_local and time_after_eq(now, timestamp + HZ):
        wake_up_process(watchdog_task[cpu])
    if print_timestamp[cpu] == timestamp or not time_after_eq(now, timestamp + 2 * watchdog_thresh * HZ + 1):
        return
    print_timestamp[cpu] = timestamp
    if FAULT_CHECKS and softlockup_panic:
        panic("softlockup: hung tasks")
    spin_lock(print_lock)
    printk(f"<3>BUG: soft lockup detected on CPU#{cpu}!\n")
    dump_stack()
    spin_unlock(print_lock)
    if softlockup_panic:
        panic("softlockup: hung tasks")


@guest
def watchdog(arg: ptr[void]) -> i32:
    """A CPU's thread: once a second it shows that it can run."""
    set_task_prio(current(), 0)
    while True:
        current().state = TASK_INTERRUPTIBLE
        if softlockup_local:
            schedule()
        else:
            schedule_timeout(HZ)
        touch_softlockup_watchdog()
    return 0


@guest
def spawn_softlockup_task() -> None:
    """Start the threads of all CPUs that are online."""
    name: array[u8] = length(16)
    if softlockup_off:
        return
    for cpu in range(NR_CPUS):
        if cpu_online(cpu):
            snprintf(name, 16, "watchdog/%u", cpu)
            touch_timestamp[cpu] = softlockup_time(cpu)
            print_timestamp[cpu] = touch_timestamp[cpu] - 1
            watchdog_task[cpu] = kernel_thread_on_cpu(watchdog, NULL, name, cpu)


@guest
def setup_softlockup(value: cstr) -> i32:
    """softlockup=off|warn|panic"""
    global softlockup_off, softlockup_panic
    softlockup_off = strcmp(value, "off") == 0
    softlockup_panic = strcmp(value, "panic") == 0
    return 0


@guest
def setup_softlockup_clock(value: cstr) -> i32:
    """softlockup_clock=jiffies|local"""
    global softlockup_local
    softlockup_local = strcmp(value, "local") == 0
    return 0


@guest
def setup_watchdog_thresh(value: cstr) -> i32:
    """watchdog_thresh=seconds"""
    global watchdog_thresh
    watchdog_thresh = max(simple_strtoul(value, NULL, 10), 1)
    return 0


_param_softlockup: ObsKernelParam = placed(
    "setup_params", ObsKernelParam(str="softlockup=", setup_func=setup_softlockup)
)
_param_softlockup_clock: ObsKernelParam = placed(
    "setup_params", ObsKernelParam(str="softlockup_clock=", setup_func=setup_softlockup_clock)
)
_param_watchdog_thresh: ObsKernelParam = placed(
    "setup_params", ObsKernelParam(str="watchdog_thresh=", setup_func=setup_watchdog_thresh)
)
