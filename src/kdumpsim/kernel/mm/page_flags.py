# SPDX-License-Identifier: GPL-2.0-or-later
"""Bits of Page.flags, and who waits for them (include/linux/page-flags.h, mm/filemap.c).

PG_slab and PG_buddy belong to the allocators (slab.py, page_alloc.py); the bits here are those of users' pages.  They
change from several CPUs and from interrupts, hence atomically.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    addr,
    array,
    fetch_and,
    fetch_or,
    fn,
    guest,
    i32,
    length,
    load_volatile,
    placed,
    ptr,
    u32,
)
from kdumpsim.kernel.core.sched import schedule
from kdumpsim.kernel.core.sched_types import TASK_UNINTERRUPTIBLE
from kdumpsim.kernel.core.wait import WaitEntry, WaitQueue, finish_wait, init_waitqueue, prepare_to_wait, wake_up
from kdumpsim.kernel.mm.page_alloc import Page, page_to_pfn

PG_locked: Final = 1 << 0
"""Somebody moves the page between memory and swap."""
PG_error: Final = 1 << 1
PG_dirty: Final = 1 << 4
"""In the swap cache, and not as it is in the swap area."""
PG_lru: Final = 1 << 5
"""On one of the lists of swap.py."""
PG_active: Final = 1 << 6
"""On the active one; while off the lists, where it shall go."""
PG_writeback: Final = 1 << 12
"""On its way to the disk."""
PG_swapcache: Final = 1 << 15
"""Has a place in the swap area: Page.private."""
PG_reclaim: Final = 1 << 17
"""To be freed as soon as it is on the disk."""

PAGE_WAIT_QUEUES: Final = 16
page_wait_table: array[WaitQueue] = length(PAGE_WAIT_QUEUES)


@guest
def page_wait_init() -> i32:
    """Make the queues."""
    for i in range(PAGE_WAIT_QUEUES):
        init_waitqueue(page_wait_table[i])
    return 0


_init_page_wait: fn[[], i32] = placed("initcall1", page_wait_init)


@guest
def page_waitqueue(page: ptr[Page]) -> ptr[WaitQueue]:
    """Where those stand who wait for a page."""
    return page_wait_table[page_to_pfn(page) % PAGE_WAIT_QUEUES]


@guest
def page_flag(page: ptr[Page], flag: u32) -> bool:
    """Whether a bit is set."""
    return load_volatile(addr(page.flags)) & flag != 0


@guest
def set_page_flag(page: ptr[Page], flag: u32) -> bool:
    """Set a bit; whether it was set before."""
    return fetch_or(addr(page.flags), flag) & flag != 0


@guest
def clear_page_flag(page: ptr[Page], flag: u32) -> bool:
    """Clear a bit; whether it was set before."""
    return fetch_and(addr(page.flags), ~flag) & flag != 0


@guest
def wait_on_page_bit(page: ptr[Page], flag: u32) -> None:
    """Sleep until a bit is clear."""
    wait: WaitEntry = WaitEntry()
    queue = page_waitqueue(page)
    while page_flag(page, flag):
        prepare_to_wait(queue, wait, TASK_UNINTERRUPTIBLE)
        if page_flag(page, flag):
            schedule()
        finish_wait(queue, wait)


@guest
def trylock_page(page: ptr[Page]) -> bool:
    """Lock a page nobody has locked (TestSetPageLocked)."""
    return not set_page_flag(page, PG_locked)


@guest
def lock_page(page: ptr[Page]) -> None:
    """Lock a page, sleeping for it."""
    while not trylock_page(page):
        wait_on_page_bit(page, PG_locked)


@guest
def unlock_page(page: ptr[Page]) -> None:
    """Unlock a page and wake who waits for that."""
    clear_page_flag(page, PG_locked)
    wake_up(page_waitqueue(page))


@guest
def end_page_writeback(page: ptr[Page]) -> None:
    """A page has reached the disk, or has not; any context."""
    clear_page_flag(page, PG_writeback)
    wake_up(page_waitqueue(page))
