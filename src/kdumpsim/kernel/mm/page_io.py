# SPDX-License-Identifier: GPL-2.0-or-later
"""Swap pages to the disk and back (mm/page_io.c; blk_congestion_wait() of block/ll_rw_blk.c)."""

from __future__ import annotations

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    cast,
    fetch_add,
    fetch_sub,
    fn,
    guest,
    i32,
    load_volatile,
    placed,
    ptr,
    sizeof,
    u32,
)
from kdumpsim.kernel.block.bio import bio_init, rw_phys, submit_bio
from kdumpsim.kernel.block.blk_types import READ, WRITE, Bio
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.sched_types import TASK_UNINTERRUPTIBLE
from kdumpsim.kernel.core.timer import schedule_timeout
from kdumpsim.kernel.core.types import ENOMEM
from kdumpsim.kernel.core.wait import WaitEntry, WaitQueue, finish_wait, init_waitqueue, prepare_to_wait, wake_up
from kdumpsim.kernel.mm.page_alloc import Page, page_to_phys
from kdumpsim.kernel.mm.page_flags import (
    PG_dirty,
    PG_error,
    PG_reclaim,
    PG_writeback,
    clear_page_flag,
    end_page_writeback,
    set_page_flag,
    unlock_page,
)
from kdumpsim.kernel.mm.slab import kfree, kmalloc
from kdumpsim.kernel.mm.swap import rotate_reclaimable_page
from kdumpsim.kernel.mm.swapfile import SECTORS_PER_PAGE, pswpin, pswpout, swap_info, swap_sector

nr_writeback: u32 = 0
"""Pages on their way to the swap area."""
nr_written: u32 = 0
"""Pages whose way to the swap area has ended."""
congestion_wqh: WaitQueue = WaitQueue()
"""Who waits for one of them to arrive."""


@guest
def page_io_init() -> i32:
    """Make the queue."""
    init_waitqueue(congestion_wqh)
    return 0


_init_page_io: fn[[], i32] = placed("initcall1", page_io_init)


@guest
def end_swap_bio_write(bio: ptr[Bio], error: i32) -> None:
    """A page has been written, or could not be; interrupt context."""
    page = cast(ptr[Page], bio.bi_private)
    kfree(bio)
    if error != 0:
        printk(f"<1>Write-error on swap-device, sector {swap_sector(page.private)}\n")
        set_page_flag(page, PG_error | PG_dirty)
        clear_page_flag(page, PG_reclaim)
    rotate_reclaimable_page(page)
    end_page_writeback(page)
    fetch_add(addr(nr_written), 1)
    fetch_sub(addr(nr_writeback), 1)
    wake_up(congestion_wqh)


@guest
def swap_writepage(page: ptr[Page]) -> i32:
    """Start to write a locked page of the swap cache, and unlock it; -ENOMEM, and it stays locked, without memory."""
    bio = cast(ptr[Bio], kmalloc(sizeof(Bio)))
    if bio == NULL:
        return -ENOMEM
    bio_init(bio, swap_info.bdev, WRITE, swap_sector(page.private), page_to_phys(page), SECTORS_PER_PAGE)
    bio.bi_end_io = end_swap_bio_write
    bio.bi_private = page
    clear_page_flag(page, PG_dirty)
    set_page_flag(page, PG_writeback | PG_reclaim)
    fetch_add(addr(nr_writeback), 1)
    fetch_add(addr(pswpout), 1)
    unlock_page(page)
    submit_bio(bio)
    return 0


@guest
def swap_readpage(page: ptr[Page]) -> i32:
    """Read a locked page of the swap cache and wait for it; 0 or -EIO."""
    fetch_add(addr(pswpin), 1)
    error = rw_phys(swap_info.bdev, READ, swap_sector(page.private), page_to_phys(page), SECTORS_PER_PAGE)
    if error != 0:
        printk(f"<1>Read-error on swap-device, sector {swap_sector(page.private)}\n")
    return error


@guest
def swap_pages_written() -> u32:
    """How many pages have reached the swap area, or failed to."""
    return load_volatile(addr(nr_written))


@guest
def swap_congestion_wait(timeout: u32) -> bool:
    """Wait until a page has reached the swap area, but no longer than so many ticks; False if none is on its way."""
    wait: WaitEntry = WaitEntry()
    prepare_to_wait(congestion_wqh, wait, TASK_UNINTERRUPTIBLE)
    writing = load_volatile(addr(nr_writeback)) != 0
    if writing:
        schedule_timeout(timeout)
    finish_wait(congestion_wqh, wait)
    return writing
