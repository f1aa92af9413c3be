# SPDX-License-Identifier: GPL-2.0-or-later
"""Small files of /proc (Linux fs/proc/proc_misc.c)."""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, array, cstr, fn, guest, i32, length, placed, ptr, u32, usize
from kdumpsim.kernel.architecture import PAGE_SHIFT, boot_command_line, cpu_online, cpuid
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.kthread import last_pid, nr_threads
from kdumpsim.kernel.core.sched import nr_running
from kdumpsim.kernel.core.string import simple_strtoul
from kdumpsim.kernel.core.sysrq import handle_sysrq
from kdumpsim.kernel.core.tainted import add_taint, tainted
from kdumpsim.kernel.core.timer import FIXED_1, FSHIFT, avenrun
from kdumpsim.kernel.core.types import EINVAL
from kdumpsim.kernel.core.version import linux_banner
from kdumpsim.kernel.fs.file_types import SeqFile
from kdumpsim.kernel.fs.proc import register_proc
from kdumpsim.kernel.fs.seq_file import seq_printf
from kdumpsim.kernel.mm.page_alloc import nr_free_pages, totalram_pages, zone_normal
from kdumpsim.kernel.mm.swapfile import nr_swap_pages, swap_info


@guest
def cmdline_show(m: ptr[SeqFile]) -> i32:
    """/proc/cmdline"""
    seq_printf(m, f"{boot_command_line:s}\n")
    return 0


@guest
def version_show(m: ptr[SeqFile]) -> i32:
    """/proc/version"""
    seq_printf(m, f"{linux_banner:s}")
    return 0


@guest
def meminfo_show(m: ptr[SeqFile]) -> i32:
    """/proc/meminfo: total and free memory, and what programs use of it and of swap."""
    shift: u32 = PAGE_SHIFT - 10
    seq_printf(m, f"MemTotal:     {totalram_pages << shift:8d} kB\n")
    seq_printf(m, f"MemFree:      {nr_free_pages() << shift:8d} kB\n")
    seq_printf(m, f"Active:       {zone_normal().nr_active << shift:8d} kB\n")
    seq_printf(m, f"Inactive:     {zone_normal().nr_inactive << shift:8d} kB\n")
    seq_printf(m, f"SwapTotal:    {swap_info.pages << shift:8d} kB\n")
    seq_printf(m, f"SwapFree:     {nr_swap_pages() << shift:8d} kB\n")
    return 0


@guest
def cpuinfo_show(m: ptr[SeqFile]) -> i32:
    """/proc/cpuinfo: each CPU that runs, and its vendor."""
    words: array[u32] = length(4)
    vendor: array[u32] = length(4)
    cpuid(0, words)
    vendor[0] = words[1]
    vendor[1] = words[3]
    vendor[2] = words[2]
    for cpu in range(NR_CPUS):
        if cpu_online(cpu):
            seq_printf(m, "processor\t: %u\nvendor_id\t: %s\n\n", cpu, usize(vendor))
    return 0


@guest
def load_text(m: ptr[SeqFile], average: u32) -> None:
    """A load average with two decimals, rounded."""
    rounded = average + FIXED_1 // 200
    seq_printf(m, f"{rounded >> FSHIFT}.{((rounded & (FIXED_1 - 1)) * 100) >> FSHIFT:02d} ")


@guest
def loadavg_show(m: ptr[SeqFile]) -> i32:
    """/proc/loadavg: three averages, runnable and all tasks, the last pid."""
    for i in range(3):
        load_text(m, avenrun[i])
    seq_printf(m, f"{nr_running()}/{nr_threads} {last_pid}\n")
    return 0


@guest
def tainted_show(m: ptr[SeqFile]) -> i32:
    """/proc/sys/kernel/tainted"""
    seq_printf(m, f"{tainted}\n")
    return 0


@guest
def tainted_store(text: cstr, count: usize) -> i32:
    """A taint that was written stays: bits are added, not taken away."""
    add_taint(simple_strtoul(text, NULL, 10))
    return 0


@guest
def sysrq_trigger_store(text: cstr, count: usize) -> i32:
    """/proc/sysrq-trigger: the first character is the key."""
    if count == 0:
        return -EINVAL
    handle_sysrq(text[0], NULL)
    return 0


@guest
def proc_misc_init() -> i32:
    """Make the files."""
    register_proc("/proc/cmdline", cmdline_show, NULL)
    register_proc("/proc/version", version_show, NULL)
    register_proc("/proc/meminfo", meminfo_show, NULL)
    register_proc("/proc/cpuinfo", cpuinfo_show, NULL)
    register_proc("/proc/loadavg", loadavg_show, NULL)
    register_proc("/proc/sys/kernel/tainted", tainted_show, tainted_store)
    register_proc("/proc/sysrq-trigger", NULL, sysrq_trigger_store)
    return 0


_init_proc_misc: fn[[], i32] = placed("initcall5", proc_misc_init)
