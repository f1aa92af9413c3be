# SPDX-License-Identifier: GPL-2.0-or-later
"""Swap is turned on when the root file system is mounted; what /proc tells of it (mm/swapfile.c, fs/proc/proc_misc.c).

A real system has swapon -a do this from its start-up scripts.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, fn, guest, i32, placed, ptr
from kdumpsim.kernel.architecture import PAGE_SHIFT
from kdumpsim.kernel.block.buffer import SECTORS_PER_BLOCK
from kdumpsim.kernel.fs.file_types import SeqFile
from kdumpsim.kernel.fs.proc import register_proc
from kdumpsim.kernel.fs.seq_file import seq_printf
from kdumpsim.kernel.fs.toyfs import toyfs_root
from kdumpsim.kernel.mm.page_alloc import nr_free_pages, zone_normal
from kdumpsim.kernel.mm.page_io import nr_writeback
from kdumpsim.kernel.mm.swapfile import pswpin, pswpout, swap_info, swapon
from kdumpsim.kernel.mm.vmscan import start_kswapd


@guest
def swaps_show(m: ptr[SeqFile]) -> i32:
    """/proc/swaps: the swap area, if there is one, with its sizes in KiB."""
    seq_printf(m, "Filename\t\tType\t\tSize\tUsed\tPriority\n")
    if swap_info.bdev != NULL:
        size = swap_info.pages << (PAGE_SHIFT - 10)
        used = swap_info.inuse_pages << (PAGE_SHIFT - 10)
        seq_printf(m, f"/dev/{swap_info.bdev.bd_name:s}\t\tpartition\t{size}\t{used}\t-1\n")
    return 0


@guest
def vmstat_show(m: ptr[SeqFile]) -> i32:
    """/proc/vmstat: pages in each state, and how many were swapped since the start."""
    zone = zone_normal()
    seq_printf(m, f"nr_free_pages {nr_free_pages()}\nnr_active {zone.nr_active}\nnr_inactive {zone.nr_inactive}\n")
    seq_printf(m, f"nr_writeback {nr_writeback}\npswpin {pswpin}\npswpout {pswpout}\n")
    return 0


@guest
def swap_init() -> i32:
    """Use what lies behind the root file system, if it is a swap area; runs when the root is mounted."""
    register_proc("/proc/swaps", swaps_show, NULL)
    register_proc("/proc/vmstat", vmstat_show, NULL)
    if toyfs_root.bdev != NULL and swapon(toyfs_root.bdev, toyfs_root.super.blocks * SECTORS_PER_BLOCK) == 0:
        start_kswapd()
    return 0


_init_swap: fn[[], i32] = placed("initcall7", swap_init)
