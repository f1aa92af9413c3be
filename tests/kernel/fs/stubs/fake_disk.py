# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk in memory whose requests end at once, and the calls the tests make."""

from __future__ import annotations

from kdumpsim.compiler.lang import BUG, NULL, addr, cast, fn, guest, i32, ptr, section, u8, u32
from kdumpsim.kernel.architecture import current
from kdumpsim.kernel.block.bio import add_disk
from kdumpsim.kernel.block.blk_types import READ, Bio, BioVec, BlockDevice, Request, RequestQueue
from kdumpsim.kernel.block.queue import blk_init_queue, elv_next_request, end_request
from kdumpsim.kernel.core.init_task import init_files, init_fs
from kdumpsim.kernel.core.spinlock import Spinlock
from kdumpsim.kernel.core.string import memcpy
from kdumpsim.kernel.fs.files import sys_close, sys_read, sys_write
from kdumpsim.kernel.fs.open import sys_open
from kdumpsim.kernel.fs.toyfs import toyfs_mount
from kdumpsim.kernel.fs.toyfs_file import sys_fsync, sys_rewind, toyfs_read_direct
from kdumpsim.kernel.lkdtt.cpoint import CrashPoint

initcall_t = fn[[], i32]

fake_lock: Spinlock = Spinlock(slock=1)
fake_queue: RequestQueue = RequestQueue()
fake_bdev: BlockDevice = BlockDevice()
fake_image: ptr[u8] = NULL
fake_requests: u32 = 0


@guest
def fake_transfer(rq: ptr[Request]) -> None:
    at: u32 = rq.sector << 9
    bio: ptr[Bio] = rq.bio
    while bio != NULL:
        for i in range(bio.bi_vcnt):
            vec: ptr[BioVec] = addr(bio.bi_io_vec[i])
            memory: ptr[u8] = cast(ptr[u8], vec.bv_phys + 0xC0000000)
            if rq.rw == READ:
                memcpy(memory, fake_image + at, vec.bv_len)
            else:
                memcpy(fake_image + at, memory, vec.bv_len)
            at += vec.bv_len
        bio = bio.bi_next


@guest
def fake_request_fn(q: ptr[RequestQueue]) -> None:
    global fake_requests
    while True:
        rq: ptr[Request] = elv_next_request(q)
        if rq == NULL:
            return
        fake_requests += 1
        fake_transfer(rq)
        end_request(rq, 0)


@guest
def fake_start(image: u32, sectors: u32) -> i32:
    global fake_image
    fake_image = cast(ptr[u8], image)
    blk_init_queue(addr(fake_queue), fake_request_fn, addr(fake_lock), NULL)
    fake_queue.max_sectors = 256
    fake_queue.max_segments = 64
    fake_bdev.bd_name[0] = ord("h")
    fake_bdev.bd_name[1] = ord("d")
    fake_bdev.bd_name[2] = ord("a")
    fake_bdev.bd_sectors = sectors
    fake_bdev.bd_queue = addr(fake_queue)
    add_disk(addr(fake_bdev))
    current().files = init_files
    current().fs = init_fs
    for initcall in section("initcall", initcall_t):
        initcall[0]()
    return toyfs_mount("/dev/hda")


@guest
def dtt_crossed(point: ptr[CrashPoint]) -> None:
    for known in section("cpoints", CrashPoint):
        if known == point:
            return
    BUG()


@guest
def reach() -> u32:
    """Name what the tests call."""
    return (
        u32(sys_open)
        + u32(sys_read)
        + u32(sys_write)
        + u32(sys_close)
        + u32(sys_fsync)
        + u32(sys_rewind)
        + u32(toyfs_read_direct)
    )
