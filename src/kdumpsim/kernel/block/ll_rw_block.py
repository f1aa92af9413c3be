# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading and writing buffers (Linux fs/buffer.c, 2.6.16): ll_rw_block and what is built on it."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    array,
    cast,
    fetch_and,
    fetch_or,
    guest,
    i32,
    length,
    placed,
    ptr,
    u32,
    usize,
)
from kdumpsim.kernel.architecture import pa
from kdumpsim.kernel.block.bio import bio_init, submit_bio
from kdumpsim.kernel.block.blk_types import READ, WRITE, Bio, BlockDevice
from kdumpsim.kernel.block.buffer import (
    BH_REQ,
    BH_UPTODATE,
    BH_WRITE_EIO,
    SECTORS_PER_BLOCK,
    BufferHead,
    brelse,
    buffer_uptodate,
    get_bh,
    get_dirty_buffers,
    getblk,
    set_buffer_uptodate,
    test_clear_buffer_dirty,
    test_set_buffer_locked,
    unlock_buffer,
    wait_on_buffer,
)
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.types import EIO
from kdumpsim.kernel.lkdtt.cpoint import CrashPoint, cpoint

SYNC_BATCH: Final = 16
"""How many buffers sync_blocks() has on their way at once."""


@guest
def end_buffer_read_sync(bh: ptr[BufferHead], uptodate: bool) -> None:
    """A read by ll_rw_block has ended; interrupt context."""
    if uptodate:
        set_buffer_uptodate(bh)
    else:
        fetch_and(addr(bh.b_state), ~BH_UPTODATE)
    unlock_buffer(bh)
    brelse(bh)


@guest
def end_buffer_write_sync(bh: ptr[BufferHead], uptodate: bool) -> None:
    """A write by ll_rw_block has ended; interrupt context."""
    if uptodate:
        set_buffer_uptodate(bh)
    else:
        printk(f"<4>lost page write due to I/O error on {bh.b_bdev.bd_name:s}\n")
        fetch_or(addr(bh.b_state), BH_WRITE_EIO)
        fetch_and(addr(bh.b_state), ~BH_UPTODATE)
    unlock_buffer(bh)
    brelse(bh)


@guest
def end_bio_bh_io_sync(bio: ptr[Bio], error: i32) -> None:
    """Pass the end of a bio on to its buffer."""
    bh = cast(ptr[BufferHead], bio.bi_private)
    bh.b_end_io(bh, error == 0)


@guest
def submit_bh(rw: u32, bh: ptr[BufferHead]) -> None:
    """Start the transfer of a locked buffer; b_end_io is called at its end."""
    fetch_or(addr(bh.b_state), BH_REQ)
    if rw == WRITE:
        fetch_and(addr(bh.b_state), ~BH_WRITE_EIO)
    bio: ptr[Bio] = bh.b_bio
    bio_init(bio, bh.b_bdev, rw, bh.b_blocknr * SECTORS_PER_BLOCK, pa(usize(bh.b_data)), SECTORS_PER_BLOCK)
    bio.bi_end_io = end_bio_bh_io_sync
    bio.bi_private = bh
    submit_bio(bio)


FS_DEVRW: CrashPoint = placed(
    "cpoints",
    CrashPoint(
        name="FS_DEVRW",
        which=3,
        help="block I/O: ll_rw_block, after unlock_buffer()",
        alias="FS_SUBMIT_BH",
    ),
)


@guest
def ll_rw_block(rw: u32, nr: u32, bhs: ptr[ptr[BufferHead]]) -> None:
    """Start the transfers of some buffers, without waiting: reads of those not up to date, writes of dirty ones.

    A buffer somebody else has locked is passed over.  FS_DEVRW is where the paper's listing 3 has it, after
    unlock_buffer(): it is crossed by a buffer that needs no transfer, up to date for a read or clean for a write.
    """
    for i in range(nr):
        bh: ptr[BufferHead] = bhs[i]
        if test_set_buffer_locked(bh):
            continue
        if rw == WRITE:
            if test_clear_buffer_dirty(bh):
                bh.b_end_io = end_buffer_write_sync
                get_bh(bh)
                submit_bh(WRITE, bh)
                continue
        elif not buffer_uptodate(bh):
            bh.b_end_io = end_buffer_read_sync
            get_bh(bh)
            submit_bh(rw, bh)
            continue
        unlock_buffer(bh)
        cpoint(FS_DEVRW)


@guest
def bread(bdev: ptr[BlockDevice], block: u32) -> ptr[BufferHead]:
    """The buffer of a block, read in, or NULL on error."""
    bh: ptr[BufferHead] = getblk(bdev, block)
    if bh == NULL:
        return NULL
    if not buffer_uptodate(bh):
        ll_rw_block(READ, 1, addr(bh))
        wait_on_buffer(bh)
        if not buffer_uptodate(bh):
            brelse(bh)
            return NULL
    return bh


@guest
def sync_dirty_buffer(bh: ptr[BufferHead]) -> i32:
    """Write a buffer if it is dirty and wait until it is on the disk."""
    wait_on_buffer(bh)
    ll_rw_block(WRITE, 1, addr(bh))
    wait_on_buffer(bh)
    return -EIO if bh.b_state & BH_WRITE_EIO else 0


@guest
def sync_blocks(bdev: ptr[BlockDevice], first: u32, count: u32) -> i32:
    """Write all dirty buffers of a range of blocks and wait (Linux filemap_fdatawrite and wait, for a range)."""
    batch: array[ptr[BufferHead]] = length(SYNC_BATCH)
    result: i32 = 0
    while True:
        nr: u32 = get_dirty_buffers(bdev, first, count, batch, SYNC_BATCH)
        if nr == 0:
            return result
        ll_rw_block(WRITE, nr, batch)
        for i in range(nr):
            wait_on_buffer(batch[i])
            if batch[i].b_state & BH_WRITE_EIO:
                result = -EIO
            brelse(batch[i])
