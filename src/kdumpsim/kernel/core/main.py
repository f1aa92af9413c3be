# SPDX-License-Identifier: GPL-2.0-or-later
"""start_kernel() and the init thread (init/main.c): the order in which the kernel comes up is 2.6.16's."""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, NoReturn, array, fn, guest, i32, length, ptr, section, u8, u32, void
from kdumpsim.kernel.architecture import (
    boot_command_line,
    calibrate_delay_by_ticks,
    cpu_idle,
    init_IRQ,
    local_irq_disable,
    local_irq_enable,
    setup_arch,
    smp_boot_secondaries,
    smp_prepare_cpus,
    time_init,
    trap_init,
)
from kdumpsim.kernel.capture.kernel_dump import kernel_dump_only
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.hrtimer import hrtimers_init
from kdumpsim.kernel.core.irq import init_irq_desc
from kdumpsim.kernel.core.kthread import fork_init, kernel_thread
from kdumpsim.kernel.core.log_buf import setup_log_buf
from kdumpsim.kernel.core.module import modules_init
from kdumpsim.kernel.core.params import cmdline_find
from kdumpsim.kernel.core.percpu import setup_per_cpu_areas
from kdumpsim.kernel.core.pid import pidhash_init
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.rcupdate import rcu_init
from kdumpsim.kernel.core.sched import sched_init, schedule, set_current_state
from kdumpsim.kernel.core.sched_types import TASK_INTERRUPTIBLE
from kdumpsim.kernel.core.signal import signals_init
from kdumpsim.kernel.core.softirq import softirq_init, spawn_ksoftirqd
from kdumpsim.kernel.core.softlockup import spawn_softlockup_task
from kdumpsim.kernel.core.spinlock import preempt_disable, preempt_enable_no_resched
from kdumpsim.kernel.core.string import simple_strtoul
from kdumpsim.kernel.core.timer import init_timers
from kdumpsim.kernel.core.version import linux_banner
from kdumpsim.kernel.init.late import init_post
from kdumpsim.kernel.mm.page_alloc import mem_init, totalram_pages
from kdumpsim.kernel.mm.slab import kmem_cache_init

initcall_t = fn[[], i32]


@guest
def console_init() -> None:
    """Set up the consoles, before memory and interrupts."""
    for initcall in section("con_initcall", initcall_t):
        initcall[0]()


@guest
def do_initcalls() -> None:
    """Start the subsystems and drivers, from initcall1 (core) to initcall7 (late): the linker sorts by level."""
    for initcall in section("initcall", initcall_t):
        initcall[0]()


@guest
def max_cpus() -> u32:
    """How many CPUs the command line allows (nosmp, maxcpus=)."""
    value: array[u8] = length(16)
    if cmdline_find("nosmp", value, 16):
        return 1
    if cmdline_find("maxcpus=", value, 16):
        return max(simple_strtoul(value, NULL, 10), 1)
    return NR_CPUS


@guest
def init(arg: ptr[void]) -> i32:
    """Thread 1: starts the other CPUs and all drivers; then it becomes the first process."""
    cpus = max_cpus()
    smp_prepare_cpus(cpus)
    if cpus > 1:
        smp_boot_secondaries()
    spawn_ksoftirqd()
    spawn_softlockup_task()
    do_initcalls()
    init_post()
    while True:
        set_current_state(TASK_INTERRUPTIBLE)
        schedule()
    return 0


@guest
def rest_init() -> NoReturn:
    """Start the first thread and become the boot CPU's idle task."""
    kernel_thread(init, NULL, "init")
    preempt_enable_no_resched()
    schedule()
    preempt_disable()
    cpu_idle()


@guest
def start_kernel() -> NoReturn:
    """Where the architecture's start-up code goes, with paging on and a stack."""
    local_irq_disable()
    printk(linux_banner)
    setup_arch()
    setup_per_cpu_areas()
    modules_init()
    sched_init()
    signals_init()
    preempt_disable()
    setup_log_buf()
    printk(f"Kernel command line: {boot_command_line:s}\n")
    trap_init()
    rcu_init()
    init_irq_desc()
    init_IRQ()
    pidhash_init()
    init_timers()
    hrtimers_init()
    softirq_init()
    time_init()
    console_init()
    mem_init()
    kmem_cache_init()
    fork_init(totalram_pages)
    kernel_dump_only()
    local_irq_enable()
    calibrate_delay_by_ticks()
    rest_init()
