# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks, bios and requests as structures (include/linux/{bio,blkdev,fs}.h)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, array, fn, i32, length, ptr, u8, u32, usize, void
from kdumpsim.kernel.core.spinlock_types import Spinlock
from kdumpsim.kernel.core.types import ListHead
from kdumpsim.kernel.core.wait import Completion, WaitQueue

READ: Final = 0
WRITE: Final = 1
SECTOR_SHIFT: Final = 9
SECTOR_SIZE: Final = 1 << SECTOR_SHIFT
BLKDEV_MAX_RQ: Final = 32


class BioVec(Struct):
    """A physically contiguous piece of memory: even address, even length."""

    bv_phys: usize
    bv_len: u32


class Bio(Struct):
    """One transfer between consecutive sectors and pieces of memory."""

    bi_next: ptr[Bio]
    bi_bdev: ptr[BlockDevice]
    bi_rw: u32
    bi_sector: u32
    bi_nr_sectors: u32
    bi_vcnt: u32
    bi_io_vec: ptr[BioVec]
    bi_inline_vec: BioVec
    bi_end_io: fn[[ptr[Bio], i32], None]
    bi_private: ptr[void]


class BlockDevice(Struct):
    """A disk: its name, size in sectors and the queue that leads to its driver."""

    bd_name: array[u8] = length(8)
    bd_sectors: u32
    bd_queue: ptr[RequestQueue]
    bd_private: ptr[void]
    bd_next: ptr[BlockDevice]


class Request(Struct):
    """One or more bios over consecutive sectors, served by one command."""

    queuelist: ListHead
    q: ptr[RequestQueue]
    bdev: ptr[BlockDevice]
    rw: u32
    sector: u32
    nr_sectors: u32
    nr_segments: u32
    errors: u32
    bio: ptr[Bio]
    biotail: ptr[Bio]
    special: ptr[void]
    """What the driver keeps about the request: a SCSI command."""
    waiting: ptr[Completion]
    """Who waits for a request without bios (blk_execute_rq)."""


class RequestQueue(Struct):
    """Requests waiting for a disk.  `queue_lock` belongs to the driver: one lock for all that shares a channel."""

    queue_head: ListHead
    queue_lock: ptr[Spinlock]
    request_fn: fn[[ptr[RequestQueue]], None]
    softirq_done_fn: fn[[ptr[Request]], None]
    queuedata: ptr[void]
    max_sectors: u32
    max_segments: u32
    free_list: ListHead
    free_wait: WaitQueue
    requests: array[Request] = length(BLKDEV_MAX_RQ)
