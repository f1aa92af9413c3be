# SPDX-License-Identifier: GPL-2.0-or-later
"""The buffer cache: one page of memory for each block in use (Linux fs/buffer.c, 2.6.16).

Blocks are 4 KiB.  A buffer is found by device and block number in a hash table; unused ones stay
cached in the order of their last use and are recycled from the oldest on.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    addr,
    array,
    cast,
    fetch_add,
    fetch_and,
    fetch_or,
    fn,
    guest,
    i32,
    length,
    list_for_each_entry,
    load_volatile,
    placed,
    ptr,
    sizeof,
    u8,
    u32,
    usize,
    void,
)
from kdumpsim.kernel.block.blk_types import SECTOR_SHIFT, Bio, BlockDevice
from kdumpsim.kernel.core.list import init_list_head, list_add_tail, list_del
from kdumpsim.kernel.core.sched import schedule
from kdumpsim.kernel.core.sched_types import TASK_UNINTERRUPTIBLE
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_unlock
from kdumpsim.kernel.core.types import ListHead
from kdumpsim.kernel.core.wait import WaitEntry, WaitQueue, finish_wait, init_waitqueue, prepare_to_wait, wake_up
from kdumpsim.kernel.mm.page_alloc import __get_free_pages, free_pages
from kdumpsim.kernel.mm.slab import kfree, kzalloc

BLOCK_SHIFT: Final = 12
BLOCK_SIZE: Final = 1 << BLOCK_SHIFT
SECTORS_PER_BLOCK: Final = BLOCK_SIZE >> SECTOR_SHIFT

BH_UPTODATE: Final = 0x01
BH_DIRTY: Final = 0x02
BH_LOCK: Final = 0x04
BH_REQ: Final = 0x08
BH_WRITE_EIO: Final = 0x10

BH_HASH: Final = 64
MAX_BUFFERS: Final = 256


class BufferHead(Struct):
    """A cached block and what is going on with it."""

    b_state: u32
    b_count: u32
    b_blocknr: u32
    b_size: usize
    b_data: ptr[u8]
    b_bdev: ptr[BlockDevice]
    b_end_io: fn[[ptr["BufferHead"], bool], None]
    b_private: ptr[void]
    b_bio: Bio
    b_hash: ptr["BufferHead"]
    b_lru: ListHead


buffer_lock: Spinlock = Spinlock(slock=1)
buffer_hash: array[ptr[BufferHead]] = length(BH_HASH)
buffer_lru: ListHead = ListHead()
nr_buffers: u32 = 0
buffer_wait: WaitQueue = WaitQueue()


@guest
def buffer_locked(bh: ptr[BufferHead]) -> bool:
    """Is a transfer or a holder of the lock at work on the buffer?"""
    return load_volatile(addr(bh.b_state)) & BH_LOCK != 0


@guest
def buffer_uptodate(bh: ptr[BufferHead]) -> bool:
    """Does the buffer hold the block's contents?"""
    return load_volatile(addr(bh.b_state)) & BH_UPTODATE != 0


@guest
def test_set_buffer_locked(bh: ptr[BufferHead]) -> bool:
    """Lock the buffer; True if it was locked before."""
    return fetch_or(addr(bh.b_state), BH_LOCK) & BH_LOCK != 0


@guest
def test_clear_buffer_dirty(bh: ptr[BufferHead]) -> bool:
    """Mark the buffer clean; True if it was dirty."""
    return fetch_and(addr(bh.b_state), ~BH_DIRTY) & BH_DIRTY != 0


@guest
def mark_buffer_dirty(bh: ptr[BufferHead]) -> None:
    """The buffer's contents are newer than the disk's."""
    fetch_or(addr(bh.b_state), BH_DIRTY)


@guest
def set_buffer_uptodate(bh: ptr[BufferHead]) -> None:
    """The buffer holds the block's contents (the caller has filled it)."""
    fetch_or(addr(bh.b_state), BH_UPTODATE)


@guest
def unlock_buffer(bh: ptr[BufferHead]) -> None:
    """Unlock and wake those who wait."""
    fetch_and(addr(bh.b_state), ~BH_LOCK)
    wake_up(buffer_wait)


@guest
def wait_on_buffer(bh: ptr[BufferHead]) -> None:
    """Sleep until nobody holds the buffer's lock (Linux __wait_on_buffer)."""
    if not buffer_locked(bh):
        return
    wait: WaitEntry = WaitEntry()
    while True:
        prepare_to_wait(buffer_wait, wait, TASK_UNINTERRUPTIBLE)
        if not buffer_locked(bh):
            break
        schedule()
    finish_wait(buffer_wait, wait)


@guest
def get_bh(bh: ptr[BufferHead]) -> None:
    """Take a reference."""
    fetch_add(addr(bh.b_count), 1)


@guest
def brelse(bh: ptr[BufferHead]) -> None:
    """Give a reference back; the buffer stays cached."""
    fetch_add(addr(bh.b_count), 0xFFFFFFFF)


@guest
def hash_slot(bdev: ptr[BlockDevice], block: u32) -> ptr[ptr[BufferHead]]:
    """The chain for a block of a device."""
    return addr(buffer_hash[((usize(bdev) >> 6) ^ block ^ (block >> 6)) % BH_HASH])


@guest
def find_buffer(bdev: ptr[BlockDevice], block: u32) -> ptr[BufferHead]:
    """The cached buffer of a block, or NULL.  buffer_lock held."""
    bh: ptr[BufferHead] = hash_slot(bdev, block)[0]
    while bh != NULL:
        if bh.b_blocknr == block and bh.b_bdev == bdev:
            return bh
        bh = bh.b_hash
    return NULL


@guest
def unhash_buffer(bh: ptr[BufferHead]) -> None:
    """Take a buffer out of its chain.  buffer_lock held."""
    link: ptr[ptr[BufferHead]] = hash_slot(bh.b_bdev, bh.b_blocknr)
    while link[0] != bh:
        link = addr(link[0].b_hash)
    link[0] = bh.b_hash


@guest
def recycle_buffer() -> ptr[BufferHead]:
    """The longest unused clean buffer, out of its chain, or NULL.  buffer_lock held."""
    for bh in list_for_each_entry(buffer_lru, BufferHead, "b_lru"):
        if bh.b_count == 0 and bh.b_state & (BH_LOCK | BH_DIRTY) == 0:
            unhash_buffer(bh)
            list_del(bh.b_lru)
            return bh
    return NULL


@guest
def alloc_buffer_head() -> ptr[BufferHead]:
    """A new buffer with its page, or NULL.  Called without locks."""
    global nr_buffers
    bh = cast(ptr[BufferHead], kzalloc(sizeof(BufferHead)))
    if bh == NULL:
        return NULL
    bh.b_data = cast(ptr[u8], __get_free_pages(0))
    if bh.b_data == NULL:
        kfree(bh)
        return NULL
    bh.b_size = BLOCK_SIZE
    fetch_add(addr(nr_buffers), 1)
    return bh


@guest
def insert_buffer(bh: ptr[BufferHead], bdev: ptr[BlockDevice], block: u32) -> None:
    """Give a buffer a block and one reference.  buffer_lock held."""
    bh.b_bdev = bdev
    bh.b_blocknr = block
    bh.b_state = 0
    bh.b_count = 1
    slot: ptr[ptr[BufferHead]] = hash_slot(bdev, block)
    bh.b_hash = slot[0]
    slot[0] = bh
    list_add_tail(bh.b_lru, buffer_lru)


@guest
def getblk(bdev: ptr[BlockDevice], block: u32) -> ptr[BufferHead]:
    """The buffer of a block, with one more reference; its contents may not be read in yet.  NULL: no memory."""
    fresh: ptr[BufferHead] = NULL
    while True:
        spin_lock(buffer_lock)
        bh: ptr[BufferHead] = find_buffer(bdev, block)
        if bh != NULL:
            get_bh(bh)
            list_del(bh.b_lru)
            list_add_tail(bh.b_lru, buffer_lru)
            spin_unlock(buffer_lock)
            break
        if fresh == NULL and nr_buffers >= MAX_BUFFERS:
            fresh = recycle_buffer()
        if fresh != NULL:
            insert_buffer(fresh, bdev, block)
            spin_unlock(buffer_lock)
            return fresh
        spin_unlock(buffer_lock)
        fresh = alloc_buffer_head()
        if fresh == NULL:
            return NULL
    if fresh != NULL:
        free_pages(fresh.b_data, 0)
        kfree(fresh)
        fetch_add(addr(nr_buffers), 0xFFFFFFFF)
    return bh


@guest
def get_dirty_buffers(bdev: ptr[BlockDevice], first: u32, count: u32, found: ptr[ptr[BufferHead]], most: u32) -> u32:
    """Dirty or locked buffers among `count` blocks from `first` on, each with one more reference; their number."""
    nr: u32 = 0
    spin_lock(buffer_lock)
    for bh in list_for_each_entry(buffer_lru, BufferHead, "b_lru"):
        if nr == most:
            break
        if bh.b_bdev == bdev and bh.b_state & (BH_DIRTY | BH_LOCK) != 0 and bh.b_blocknr - first < count:
            get_bh(bh)
            found[nr] = bh
            nr += 1
    spin_unlock(buffer_lock)
    return nr


@guest
def forget_buffers(bdev: ptr[BlockDevice], first: u32, count: u32) -> None:
    """Let unused clean buffers of a range of blocks be read anew next time (Linux invalidate_bdev, for a range)."""
    spin_lock(buffer_lock)
    for bh in list_for_each_entry(buffer_lru, BufferHead, "b_lru"):
        if bh.b_bdev == bdev and bh.b_count == 0 and bh.b_blocknr - first < count:
            if bh.b_state & (BH_DIRTY | BH_LOCK) == 0:
                bh.b_state = 0
    spin_unlock(buffer_lock)


@guest
def buffer_init() -> i32:
    """Prepare what static initialisers cannot."""
    init_list_head(buffer_lru)
    init_waitqueue(buffer_wait)
    return 0


_init_buffer: fn[[], i32] = placed("initcall4", buffer_init)
