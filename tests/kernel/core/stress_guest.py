# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest code for test_stress.py: threads lean on the scheduler, timers, wait queues, tasklets and memory at once."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    array,
    cast,
    fetch_add,
    fn,
    guest,
    i32,
    length,
    load_volatile,
    placed,
    ptr,
    u8,
    u32,
    void,
)
from kdumpsim.kernel.architecture import current
from kdumpsim.kernel.core.alarm import set_alarm_in_jiffies
from kdumpsim.kernel.core.config import HZ
from kdumpsim.kernel.core.hrtimer import hrtimer_nanosleep, ktime_get
from kdumpsim.kernel.core.itimer import set_alarm
from kdumpsim.kernel.core.kthread import kernel_thread
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.sched import schedule
from kdumpsim.kernel.core.sched_types import TASK_UNINTERRUPTIBLE
from kdumpsim.kernel.core.softirq import TaskletStruct, tasklet_init, tasklet_schedule
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_unlock
from kdumpsim.kernel.core.time_types import Timespec
from kdumpsim.kernel.core.timer import jiffies, msleep, timespec_to_jiffies
from kdumpsim.kernel.core.wait import (
    Completion,
    WaitEntry,
    WaitQueue,
    complete,
    finish_wait,
    init_completion,
    init_waitqueue,
    prepare_to_wait,
    wait_for_completion,
    wait_for_completion_timeout,
    wake_up,
)
from kdumpsim.kernel.mm.page_alloc import nr_free_pages
from kdumpsim.kernel.mm.slab import kfree, kmalloc

HOGS: Final = 5
ROUNDS: Final = 100
SHORT_LIVES: Final = 30
SIZES: Final = 40
WORKERS: Final = 7

stress_stop: u32 = 0
stress_done: u32 = 0
stress_failures: u32 = 0
stress_queue: WaitQueue = WaitQueue()
hog_counts: array[u32] = length(HOGS)
ping: Completion = Completion()
pong: Completion = Completion()
lock_test: Spinlock = Spinlock(slock=1)
locked_count: u32 = 0
born: u32 = 0
tasklet_runs: u32 = 0


@guest
def check(good: bool, what: ptr[u8]) -> None:
    """Note a failure."""
    if not good:
        fetch_add(addr(stress_failures), 1)
        printk("stress: failed: %s\n", what)


@guest
def worker_done() -> i32:
    """One worker has finished."""
    fetch_add(addr(stress_done), 1)
    wake_up(addr(stress_queue))
    return 0


@guest
def hog(arg: ptr[void]) -> i32:
    """Never sleeps: only preemption takes the CPU from it."""
    index = u32(arg)
    while load_volatile(addr(stress_stop)) == 0:
        hog_counts[index] += 1
    return 0


@guest
def pinger(arg: ptr[void]) -> i32:
    """Half of a ping-pong."""
    for _ in range(ROUNDS):
        complete(addr(ping))
        wait_for_completion(addr(pong))
    return worker_done()


@guest
def ponger(arg: ptr[void]) -> i32:
    """The other half."""
    for _ in range(ROUNDS):
        wait_for_completion(addr(ping))
        complete(addr(pong))
    return worker_done()


@guest
def sleeper(arg: ptr[void]) -> i32:
    """Sleeps are as long as asked for; a time-out without the event says so."""
    never: Completion = Completion()
    init_completion(addr(never))
    for _ in range(5):
        before = jiffies
        msleep(20)
        check(jiffies - before >= 2, "msleep")
        now = ktime_get()
        hrtimer_nanosleep(5_000_000)
        check(ktime_get() - now >= 5_000_000, "nanosleep")
        before = jiffies
        check(wait_for_completion_timeout(addr(never), 3) == 0, "no time-out")
        check(jiffies - before >= 3, "early time-out")
    signal = current().signal
    check(set_alarm(signal, 3) == 0 and set_alarm_in_jiffies(signal, 3) == 0, "no alarm was set")
    msleep(1100)
    check(set_alarm(signal, 0) == 2, "alarm in nanoseconds")
    check(set_alarm_in_jiffies(signal, 0) == 2, "alarm in jiffies")
    long: Timespec = Timespec(tv_sec=1, tv_nsec=1)
    check(timespec_to_jiffies(long) == HZ + 1, "a time in jiffies lasts at least as long")
    return worker_done()


@guest
def locker(arg: ptr[void]) -> i32:
    """Two of these count under one lock, in steps that would be lost without it."""
    global locked_count
    for _ in range(ROUNDS):
        spin_lock(addr(lock_test))
        value = load_volatile(addr(locked_count))
        for _step in range(50):
            load_volatile(addr(jiffies))
        locked_count = value + 1
        spin_unlock(addr(lock_test))
    return worker_done()


@guest
def allocator(arg: ptr[void]) -> i32:
    """Memory holds what is put there until it is freed."""
    blocks: array[ptr[u32]] = length(SIZES)
    for round_number in range(5):
        for i in range(SIZES):
            words = (i + 1) * (i + 1)
            blocks[i] = cast(ptr[u32], kmalloc(words * 4))
            blocks[i][0] = i
            blocks[i][words - 1] = i + round_number
        for i in range(SIZES):
            words = (i + 1) * (i + 1)
            check(blocks[i][words - 1] == i + round_number, "kmalloc")
            check(words == 1 or blocks[i][0] == i, "kmalloc")
            kfree(blocks[i])
    return worker_done()


@guest
def short_life(arg: ptr[void]) -> i32:
    """Exits at once."""
    fetch_add(addr(born), 1)
    return 0


@guest
def count_tasklet(data: u32) -> None:
    """A tasklet."""
    fetch_add(addr(tasklet_runs), data)


@guest
def stress(arg: ptr[void]) -> i32:
    """Start everybody, wait for the workers, report."""
    global stress_stop
    init_waitqueue(addr(stress_queue))
    init_completion(addr(ping))
    init_completion(addr(pong))
    for i in range(HOGS):
        kernel_thread(hog, cast(ptr[void], i), "hog")
    kernel_thread(pinger, NULL, "pinger")
    kernel_thread(ponger, NULL, "ponger")
    kernel_thread(sleeper, NULL, "sleeper")
    kernel_thread(locker, NULL, "locker")
    kernel_thread(locker, NULL, "locker")
    kernel_thread(allocator, NULL, "allocator")
    kernel_thread(allocator, NULL, "allocator")
    tasklet: TaskletStruct = TaskletStruct()
    tasklet_init(addr(tasklet), count_tasklet, 1)
    wait: WaitEntry = WaitEntry()
    while True:
        prepare_to_wait(addr(stress_queue), addr(wait), TASK_UNINTERRUPTIBLE)
        if load_volatile(addr(stress_done)) == WORKERS:
            break
        schedule()
    finish_wait(addr(stress_queue), addr(wait))
    stress_stop = 1
    msleep(200)
    free_before = nr_free_pages()
    for _ in range(SHORT_LIVES):
        kernel_thread(short_life, NULL, "short")
        tasklet_schedule(addr(tasklet))
        msleep(10)
    msleep(50)
    check(born == SHORT_LIVES, "threads")
    check(tasklet_runs == SHORT_LIVES, "tasklets")
    check(locked_count == 2 * ROUNDS, "spinlock")
    check(nr_free_pages() == free_before, "pages of ended threads")
    for i in range(HOGS):
        printk(f"stress: hog {hog_counts[i]}\n")
    printk(f"stress: {stress_failures} failures\n")
    return 0


@guest
def stress_init() -> i32:
    """Begin when the system is up."""
    kernel_thread(stress, NULL, "stress")
    return 0


_init_stress: fn[[], i32] = placed("initcall7", stress_init)
