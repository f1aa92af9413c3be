# SPDX-License-Identifier: GPL-2.0-or-later
"""The swap area: which of its pages are in use, and by how many (mm/swapfile.c).

There is one area: what lies behind the root file system, if its first page carries mkswap's signature.  A swap entry
is what stands in a page table in place of a page: not present, and the area's page number from bit 8 up
(include/asm-i386/pgtable.h).  `swap_map` counts the page tables and the swap cache that refer to a page of the area.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    Union,
    array,
    cast,
    cstr,
    guest,
    i32,
    length,
    ptr,
    sizeof,
    u8,
    u32,
    usize,
)
from kdumpsim.kernel.architecture import PAGE_SHIFT, PAGE_SIZE
from kdumpsim.kernel.block.bio import rw_kernel
from kdumpsim.kernel.block.blk_types import READ, SECTOR_SHIFT, BlockDevice
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_unlock
from kdumpsim.kernel.core.string import memcmp
from kdumpsim.kernel.core.types import EBUSY, EINVAL, EIO, ENOMEM
from kdumpsim.kernel.mm.page_alloc import Page, __get_free_pages, free_pages
from kdumpsim.kernel.mm.slab import kfree, kzalloc
from kdumpsim.kernel.mm.vmalloc import vfree, vzalloc

SECTORS_PER_PAGE: Final = PAGE_SIZE >> SECTOR_SHIFT
SIGNATURE: Final[cstr] = "SWAPSPACE2"
SIGNATURE_SIZE: Final = 10
SWAP_VERSION: Final = 1
SWP_OFFSET_SHIFT: Final = 8


class SwapHeaderMagic(Struct):
    """Where the signature is: at the end of the page."""

    reserved: array[u8] = length(PAGE_SIZE - SIGNATURE_SIZE)
    magic: array[u8] = length(SIGNATURE_SIZE)


class SwapHeaderInfo(Struct):
    """What stands before it."""

    bootbits: array[u8] = length(1024)
    version: u32
    last_page: u32
    nr_badpages: u32


class SwapHeader(Union):
    """The first page of an area, as mkswap writes it."""

    magic: SwapHeaderMagic
    info: SwapHeaderInfo


class SwapInfo(Struct):
    """The swap area."""

    bdev: ptr[BlockDevice]
    """Its disk; NULL before swapon."""
    start: u32
    """Its first sector."""
    max: u32
    """Its pages, the first included, which is never used."""
    pages: u32
    """Its usable pages."""
    inuse_pages: u32
    writeok: bool
    """Whether more pages may be put there."""
    next: usize
    """Where the search for a free page goes on, so that pages given out after another lie side by side."""
    swap_map: ptr[u8]
    """References to each page."""
    swap_cache: ptr[ptr[Page]]
    """The swap cache (swap_state.py): the memory that holds each page, or will."""


swap_info: SwapInfo = SwapInfo()
swap_lock: Spinlock = Spinlock(slock=1)
"""Guards the counts and the swap cache."""
pswpin: u32 = 0
"""Pages read since the start, for /proc/vmstat."""
pswpout: u32 = 0


@guest
def swp_entry(offset: usize) -> usize:
    """The page table entry that stands for a page of the area."""
    return offset << SWP_OFFSET_SHIFT


@guest
def swp_offset(entry: usize) -> usize:
    """The page of the area that an entry stands for."""
    return entry >> SWP_OFFSET_SHIFT


@guest
def swap_sector(entry: usize) -> u32:
    """Where on the disk it lies."""
    return swap_info.start + u32(swp_offset(entry)) * SECTORS_PER_PAGE


@guest
def nr_swap_pages() -> u32:
    """Free pages of the area; 0 without one, and while it is being turned off."""
    return swap_info.pages - swap_info.inuse_pages if swap_info.writeok else 0


@guest
def scan_swap_map() -> usize:
    """A free page of the area, or 0; swap_lock is held."""
    offset = swap_info.next
    for _ in range(swap_info.pages):
        if offset < 1 or offset >= swap_info.max:
            offset = 1
        if swap_info.swap_map[offset] == 0:
            return offset
        offset += 1
    return 0


@guest
def get_swap_page() -> usize:
    """Take a free page of the area; its entry, with one reference, or 0 if swap is full."""
    if nr_swap_pages() == 0:
        return 0
    spin_lock(swap_lock)
    offset = scan_swap_map()
    if offset != 0:
        swap_info.swap_map[offset] = 1
        swap_info.inuse_pages += 1
        swap_info.next = offset + 1
    spin_unlock(swap_lock)
    return swp_entry(offset)


@guest
def swap_duplicate(entry: usize) -> None:
    """One more reference to a page of the area."""
    spin_lock(swap_lock)
    swap_info.swap_map[swp_offset(entry)] += 1
    spin_unlock(swap_lock)


@guest
def swap_entry_free(offset: usize) -> u8:
    """Give a reference up; those left.  swap_lock is held."""
    left = swap_info.swap_map[offset] - 1
    swap_info.swap_map[offset] = left
    if left == 0:
        swap_info.inuse_pages -= 1
    return left


@guest
def swap_free(entry: usize) -> None:
    """Give a reference up; the last one frees the page of the area."""
    spin_lock(swap_lock)
    swap_entry_free(swp_offset(entry))
    spin_unlock(swap_lock)


@guest
def swap_header_valid(header: ptr[SwapHeader], room: usize) -> bool:
    """Whether a page is the first of a swap area that fits into `room` pages."""
    signature = header.magic.magic
    if memcmp(signature, SIGNATURE, SIGNATURE_SIZE) != 0 or header.info.version != SWAP_VERSION:
        return False
    return header.info.nr_badpages == 0 and header.info.last_page >= 1 and header.info.last_page < room


@guest
def enable_swap(bdev: ptr[BlockDevice], start: u32, pages: u32) -> i32:
    """Begin to use an area of so many pages, the first included."""
    counts = cast(ptr[u8], vzalloc(pages))
    cache = cast(ptr[ptr[Page]], kzalloc(pages * sizeof(ptr[Page])))
    if counts == NULL or cache == NULL:
        vfree(counts)
        kfree(cache)
        return -ENOMEM
    swap_info.start = start
    swap_info.max = pages
    swap_info.next = 1
    swap_info.swap_map = counts
    swap_info.swap_cache = cache
    swap_info.bdev = bdev
    swap_info.pages = pages - 1
    swap_info.writeok = True
    return 0


@guest
def swapon(bdev: ptr[BlockDevice], start: u32) -> i32:
    """Use the swap area that begins at a sector of a disk; -EINVAL if there is none."""
    if swap_info.bdev != NULL:
        return -EBUSY
    if start >= bdev.bd_sectors:
        return -EINVAL
    header = cast(ptr[SwapHeader], __get_free_pages(0))
    if header == NULL:
        return -ENOMEM
    error: i32 = -EINVAL
    if rw_kernel(bdev, READ, start, cast(ptr[u8], header), SECTORS_PER_PAGE) != 0:
        error = -EIO
    elif swap_header_valid(header, (bdev.bd_sectors - start) // SECTORS_PER_PAGE):
        error = enable_swap(bdev, start, header.info.last_page + 1)
    free_pages(header, 0)
    if error == 0:
        kilobytes = swap_info.pages << (PAGE_SHIFT - 10)
        printk(f"<6>Adding {kilobytes}k swap on {bdev.bd_name:s}, sector {start}.\n")
    return error
