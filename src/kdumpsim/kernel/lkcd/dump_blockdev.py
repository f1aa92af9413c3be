# SPDX-License-Identifier: GPL-2.0-or-later
"""The dump device: a block device, by way of the kernel's own block layer and driver (drivers/dump/dump_blockdev.c).

This is LKCD's interrupt mode: a bio is submitted, and its end is waited for with interrupts on.  LKCD copies pages into
a buffer of 64 KiB, which it writes; here a bio has the page headers and the pages from where they lie.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    addr,
    array,
    cast,
    cstr,
    guest,
    i32,
    length,
    load_volatile,
    ptr,
    sizeof,
    store_volatile,
    u8,
    u32,
    usize,
)
from kdumpsim.kernel.architecture import PAGE_SIZE, cpu_relax, pa, smp_processor_id
from kdumpsim.kernel.block.bio import find_disk, submit_bio
from kdumpsim.kernel.block.blk_types import SECTOR_SHIFT, SECTOR_SIZE, WRITE, Bio, BioVec, BlockDevice, RequestQueue
from kdumpsim.kernel.core.list import list_empty
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.spinlock import spin_trylock, spin_unlock
from kdumpsim.kernel.core.string import memcpy, memset
from kdumpsim.kernel.core.types import EAGAIN, EBUSY, EINVAL, ENODEV, ENOSPC
from kdumpsim.kernel.lkcd.dump_fmt import dump_header, dump_header_asm
from kdumpsim.kernel.lkcd.dump_i386 import dump_irq_enable, dump_irq_restore, dump_soften
from kdumpsim.kernel.lkcd.dump_types import (
    DUMP_BUFFER_SIZE,
    DUMP_DH_END,
    DUMP_DH_RAW,
    DUMP_HEADER_OFFSET,
    DumpHeader,
    DumpHeaderAsm,
    DumpPage,
)

PAGES_PER_WRITE: Final = 32
"""So many pages with their headers are whole sectors: 32 times 4112 bytes are 257."""
DUMP_VECS: Final = 2 * PAGES_PER_WRITE + 2
"""Header and page of each, the end marker and what fills up the last sector."""
MAX_WRITE: Final = (PAGES_PER_WRITE * (PAGE_SIZE + 16) >> SECTOR_SHIFT) + 1
ZEROS_AT: Final = PAGE_SIZE // 2


class DumpBlockdev(Struct):
    """The device that is configured, and the state of its one transfer."""

    bdev: ptr[BlockDevice]
    start_sector: u32
    sectors: u32
    curr_sector: u32
    """Where the next block goes, counted from the start."""
    err: i32
    """-EAGAIN while a transfer is under way."""
    pages: u32
    """Pages in the block that is being filled."""


dump_blockdev: DumpBlockdev = DumpBlockdev()
dump_bio: Bio = Bio()
dump_vecs: array[BioVec] = length(DUMP_VECS)
dump_page_buf: array[u8] = length(PAGE_SIZE, align=4096)
"""The dump's headers, later the pages' headers; nothing but zeros in its second half."""


@guest
def dump_block_open(name: cstr, start: u32, sectors: u32, needed: u32) -> i32:
    """Take a part of a disk as the dump device, if it and its driver will do; needs `needed` bytes for pages."""
    bdev: ptr[BlockDevice] = find_disk(name)
    if bdev == NULL:
        printk(f"<3>LKCD: no such disk: {name:s}\n")
        return -ENODEV
    if start > bdev.bd_sectors or sectors > bdev.bd_sectors - start:
        printk(f"<3>LKCD: {name:s} has {bdev.bd_sectors} sectors, the partition would end at {start + sectors}\n")
        return -EINVAL
    blocks: u32 = (DUMP_HEADER_OFFSET + DUMP_BUFFER_SIZE + needed) // SECTOR_SIZE + 2
    if sectors < blocks:
        printk(f"<3>LKCD: dump partition too small: {sectors} sectors, {blocks} needed\n")
        return -ENOSPC
    if bdev.bd_queue.max_sectors < MAX_WRITE or bdev.bd_queue.max_segments < DUMP_VECS:
        printk(f"<3>LKCD: the driver of {name:s} takes too little at once\n")
        return -EINVAL
    dump_blockdev.bdev = bdev
    dump_blockdev.start_sector = start
    dump_blockdev.sectors = sectors
    printk(f"<6>LKCD: block device {bdev.bd_name:s} successfully configured for dumping\n")
    return 0


@guest
def dump_block_silence() -> i32:
    """Make the device ready: its queue's lock must be free, or there is no dump."""
    q: ptr[RequestQueue] = dump_blockdev.bdev.bd_queue
    if not spin_trylock(q.queue_lock):
        return -EBUSY
    empty: bool = list_empty(q.queue_head)
    spin_unlock(q.queue_lock)
    if not empty:
        printk("<1>LKCD: Warning: Non-empty request queue\n")
        printk("<1>LKCD: I/O requests in flight at dump time\n")
    dump_soften()
    dump_irq_enable()
    printk(f"LKCD: Dumping to block device {dump_blockdev.bdev.bd_name:s} on CPU {smp_processor_id()} ...\n")
    return 0


@guest
def dump_block_resume() -> None:
    """Undo dump_block_silence()."""
    dump_irq_restore()


@guest
def dump_bio_end_io(bio: ptr[Bio], error: i32) -> None:
    """A transfer is over; nobody sleeps for it."""
    if error != 0:
        printk("LKCD: IO error while writing the dump, aborting\n")
    store_volatile(addr(dump_blockdev.err), error)


@guest
def dump_block_write(vecs: u32, sectors: u32) -> i32:
    """Write what `dump_vecs` names to the current place, and wait for the end; 0 or a negative errno."""
    at: u32 = dump_blockdev.curr_sector
    if at + sectors > dump_blockdev.sectors:
        printk("LKCD: write: not enough space left on device!\n")
        return -ENOSPC
    dump_bio.bi_next = NULL
    dump_bio.bi_bdev = dump_blockdev.bdev
    dump_bio.bi_rw = WRITE
    dump_bio.bi_sector = dump_blockdev.start_sector + at
    dump_bio.bi_nr_sectors = sectors
    dump_bio.bi_vcnt = vecs
    dump_bio.bi_io_vec = dump_vecs
    dump_bio.bi_end_io = dump_bio_end_io
    dump_blockdev.err = -EAGAIN
    submit_bio(dump_bio)
    while load_volatile(addr(dump_blockdev.err)) == -EAGAIN:
        cpu_relax()
    dump_blockdev.curr_sector = at + sectors
    return dump_blockdev.err


@guest
def dump_vec(number: u32, phys: usize, size: u32) -> None:
    """A piece of the next transfer."""
    vec: ptr[BioVec] = dump_vecs[number]
    vec.bv_phys = phys
    vec.bv_len = size


@guest
def dump_update_header() -> i32:
    """Write the dump's headers, at the beginning and again at the end."""
    memset(dump_page_buf, 0, PAGE_SIZE)
    memcpy(dump_page_buf, dump_header, sizeof(DumpHeader))
    memcpy(dump_page_buf + sizeof(DumpHeader), dump_header_asm, sizeof(DumpHeaderAsm))
    dump_vec(0, pa(usize(dump_page_buf)), PAGE_SIZE)
    dump_blockdev.curr_sector = DUMP_HEADER_OFFSET >> SECTOR_SHIFT
    error: i32 = dump_block_write(1, PAGE_SIZE >> SECTOR_SHIFT)
    memset(dump_page_buf, 0, PAGE_SIZE)
    return error


@guest
def dump_seek_first_page() -> None:
    """Go to where the pages begin."""
    dump_blockdev.curr_sector = (DUMP_HEADER_OFFSET + DUMP_BUFFER_SIZE) >> SECTOR_SHIFT
    dump_blockdev.pages = 0


@guest
def dump_page_header(number: u32, phys: usize, flags: u32) -> None:
    """Write the header of a page of the block, or the end marker."""
    header: ptr[DumpPage] = cast(ptr[DumpPage], dump_page_buf) + number
    header.dp_address = phys
    header.dp_size = PAGE_SIZE
    header.dp_flags = flags
    dump_vec(2 * number, pa(usize(header)), sizeof(DumpPage))


@guest
def dump_add_data(phys: usize) -> i32:
    """Add a page, and write the block once it is full."""
    number: u32 = dump_blockdev.pages
    dump_page_header(number, phys, DUMP_DH_RAW)
    dump_vec(2 * number + 1, phys, PAGE_SIZE)
    dump_blockdev.pages = number + 1
    dump_header.dh_num_dump_pages += 1
    if dump_blockdev.pages != PAGES_PER_WRITE:
        return 0
    dump_blockdev.pages = 0
    return dump_block_write(2 * PAGES_PER_WRITE, PAGES_PER_WRITE * (PAGE_SIZE + sizeof(DumpPage)) >> SECTOR_SHIFT)


@guest
def dump_update_end_marker() -> i32:
    """Write the last block, which the end marker closes."""
    number: u32 = dump_blockdev.pages
    dump_page_header(number, 0, DUMP_DH_END)
    used: u32 = number * (PAGE_SIZE + sizeof(DumpPage)) + sizeof(DumpPage)
    sectors: u32 = (used + SECTOR_SIZE - 1) >> SECTOR_SHIFT
    rest: u32 = (sectors << SECTOR_SHIFT) - used
    dump_vec(2 * number + 1, pa(usize(dump_page_buf + ZEROS_AT)), rest)
    return dump_block_write(2 * number + (2 if rest != 0 else 1), sectors)
