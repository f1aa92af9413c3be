# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory as a node with zones (include/linux/mmzone.h of 2.6.16).

All memory is in one zone of one node: no device here needs memory below 16 MiB, and none is above the linear map.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, array, cstr, i32, length, ptr, u32, usize, void
from kdumpsim.kernel.core.spinlock_types import Spinlock
from kdumpsim.kernel.core.types import ListHead

MAX_ORDER: Final = 11
MAX_NR_ZONES: Final = 1
ZONE_NORMAL: Final = 0


class Page(Struct):
    """What the kernel knows of one physical page."""

    flags: u32
    _count: i32
    """References; 0 while free."""
    private: usize
    """Order of a free block or of a large kmalloc; the swap entry of a page in the swap cache."""
    mapping: ptr[void]
    """The address space that maps a user's page, with PAGE_MAPPING_ANON."""
    index: usize
    """The address a user's page is mapped at."""
    lru: ListHead
    """Link in the list of free blocks or of users' pages; of a PG_slab page its cache and its slab."""


class FreeArea(Struct):
    """The free blocks of one order."""

    free_list: ListHead
    nr_free: u32


class Zone(Struct):
    """Memory of one kind, and its pages that programs use."""

    free_pages: u32
    pages_min: u32
    """What is kept back from those who can wait."""
    pages_low: u32
    """kswapd begins to free memory."""
    pages_high: u32
    """kswapd stops."""
    lock: Spinlock
    """Guards the free blocks."""
    free_area: array[FreeArea] = length(MAX_ORDER)
    lru_lock: Spinlock
    """Guards the lists of users' pages and their counts; interrupts are off, as the end of a write moves pages."""
    active_list: ListHead
    inactive_list: ListHead
    nr_scan_active: u32
    """What scans have left over for the next one."""
    nr_scan_inactive: u32
    nr_active: u32
    nr_inactive: u32
    pages_scanned: u32
    """Since a page of the zone was last freed."""
    all_unreclaimable: i32
    """kswapd has given up: scans found nothing to free."""
    zone_pgdat: ptr[PglistData]
    zone_mem_map: ptr[Page]
    zone_start_pfn: usize
    spanned_pages: usize
    """From the first to the last, holes among them."""
    present_pages: usize
    name: cstr


class PglistData(Struct):
    """A node."""

    node_zones: array[Zone] = length(MAX_NR_ZONES)
    nr_zones: i32
    node_mem_map: ptr[Page]
    node_start_pfn: usize
    node_present_pages: usize
    node_spanned_pages: usize
    node_id: i32
