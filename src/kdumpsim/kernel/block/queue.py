# SPDX-License-Identifier: GPL-2.0-or-later
"""Request queues: adjacent bios are merged, requests served first come, first served.

After Linux block/ll_rw_blk.c and block/noop-iosched.c (2.6.16).  There is no plugging: an idle disk
starts with the first bio; what arrives while it is busy is merged in the queue.  A driver provides
`request_fn`, called with the queue's lock held and interrupts off whenever there may be work.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, container_of, fn, guest, i32, list_for_each_entry, ptr, u32, usize, void
from kdumpsim.kernel.block.blk_types import BLKDEV_MAX_RQ, Bio, BioVec, Request, RequestQueue
from kdumpsim.kernel.core.list import init_list_head, list_add, list_add_tail, list_del, list_empty
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.sched import schedule
from kdumpsim.kernel.core.sched_types import TASK_UNINTERRUPTIBLE
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.wait import (
    Completion,
    WaitEntry,
    complete,
    finish_wait,
    init_completion,
    init_waitqueue,
    prepare_to_wait,
    wait_for_completion,
    wake_up,
)

DMA_BOUNDARY_SHIFT: Final = 16


@guest
def blk_init_queue(
    q: ptr[RequestQueue], request_fn: fn[[ptr[RequestQueue]], None], lock: ptr[Spinlock], queuedata: ptr[void]
) -> None:
    """Prepare a queue; the driver then sets its limits."""
    init_list_head(q.queue_head)
    init_list_head(q.free_list)
    init_waitqueue(q.free_wait)
    q.request_fn = request_fn
    q.queue_lock = lock
    q.queuedata = queuedata
    for i in range(BLKDEV_MAX_RQ):
        q.requests[i].q = q
        list_add_tail(q.requests[i].queuelist, q.free_list)


@guest
def bio_segments(bio: ptr[Bio]) -> u32:
    """How many entries of a scatter list the bio needs: none may cross a 64 KiB boundary."""
    segments: usize = 0
    for i in range(bio.bi_vcnt):
        vec: ptr[BioVec] = bio.bi_io_vec[i]
        first: usize = vec.bv_phys >> DMA_BOUNDARY_SHIFT
        last: usize = (vec.bv_phys + vec.bv_len - 1) >> DMA_BOUNDARY_SHIFT
        segments += last - first + 1
    return u32(segments)


@guest
def elv_merge(q: ptr[RequestQueue], bio: ptr[Bio], segments: u32) -> bool:
    """Join the bio to a waiting request whose sectors it continues or precedes.  Queue lock held."""
    for rq in list_for_each_entry(q.queue_head, Request, "queuelist"):
        if rq.bdev != bio.bi_bdev or rq.rw != bio.bi_rw or rq.special != NULL:
            continue
        if rq.nr_sectors + bio.bi_nr_sectors > q.max_sectors or rq.nr_segments + segments > q.max_segments:
            continue
        if rq.sector + rq.nr_sectors == bio.bi_sector:
            rq.biotail.bi_next = bio
            rq.biotail = bio
        elif bio.bi_sector + bio.bi_nr_sectors == rq.sector:
            bio.bi_next = rq.bio
            rq.bio = bio
            rq.sector = bio.bi_sector
        else:
            continue
        rq.nr_sectors += bio.bi_nr_sectors
        rq.nr_segments += segments
        return True
    return False


@guest
def wait_for_request(q: ptr[RequestQueue]) -> None:
    """Sleep until a request may have become free (Linux get_request_wait)."""
    wait: WaitEntry = WaitEntry()
    prepare_to_wait(q.free_wait, wait, TASK_UNINTERRUPTIBLE)
    if list_empty(q.free_list):
        schedule()
    finish_wait(q.free_wait, wait)


@guest
def make_request(q: ptr[RequestQueue], bio: ptr[Bio]) -> None:
    """Queue a bio and let the driver look (Linux __make_request).  May sleep."""
    segments: u32 = bio_segments(bio)
    bio.bi_next = NULL
    while True:
        flags = spin_lock_irqsave(q.queue_lock)
        if elv_merge(q, bio, segments):
            spin_unlock_irqrestore(q.queue_lock, flags)
            return
        if not list_empty(q.free_list):
            break
        spin_unlock_irqrestore(q.queue_lock, flags)
        wait_for_request(q)
    rq = container_of(q.free_list.next, Request, "queuelist")
    list_del(rq.queuelist)
    rq.bdev = bio.bi_bdev
    rq.rw = bio.bi_rw
    rq.sector = bio.bi_sector
    rq.nr_sectors = bio.bi_nr_sectors
    rq.nr_segments = segments
    rq.errors = 0
    rq.bio = bio
    rq.biotail = bio
    rq.special = NULL
    list_add_tail(rq.queuelist, q.queue_head)
    q.request_fn(q)
    spin_unlock_irqrestore(q.queue_lock, flags)


@guest
def elv_next_request(q: ptr[RequestQueue]) -> ptr[Request]:
    """Take the next request off the queue, or NULL.  Queue lock held."""
    if list_empty(q.queue_head):
        return NULL
    rq = container_of(q.queue_head.next, Request, "queuelist")
    list_del(rq.queuelist)
    return rq


@guest
def elv_requeue_request(q: ptr[RequestQueue], rq: ptr[Request]) -> None:
    """Put a request back to be the next (Linux blk_requeue_request).  Queue lock held."""
    list_add(rq.queuelist, q.queue_head)


@guest
def blk_execute_rq(q: ptr[RequestQueue], rq: ptr[Request]) -> None:
    """Have the driver serve a request of the caller's own, which has no bios, and wait for its end."""
    done: Completion = Completion()
    init_completion(done)
    rq.q = q
    rq.waiting = done
    flags = spin_lock_irqsave(q.queue_lock)
    list_add_tail(rq.queuelist, q.queue_head)
    q.request_fn(q)
    spin_unlock_irqrestore(q.queue_lock, flags)
    wait_for_completion(done)


@guest
def end_that_request_first(rq: ptr[Request], error: i32) -> None:
    """End all bios of a request."""
    bio: ptr[Bio] = rq.bio
    if error != 0 and bio != NULL:
        printk(f"<4>end_request: I/O error, dev {rq.bdev.bd_name:s}, sector {rq.sector}\n")
    while bio != NULL:
        following: ptr[Bio] = bio.bi_next
        bio.bi_next = NULL
        bio.bi_end_io(bio, error)
        bio = following
    rq.bio = NULL


@guest
def end_that_request_last(rq: ptr[Request]) -> None:
    """Free a request, or wake who waits for it.  Queue lock held."""
    if rq.waiting != NULL:
        complete(rq.waiting)
        return
    q: ptr[RequestQueue] = rq.q
    list_add_tail(rq.queuelist, q.free_list)
    wake_up(q.free_wait)


@guest
def end_request(rq: ptr[Request], error: i32) -> None:
    """A request is done: end its bios, free it.  Queue lock held, interrupts off."""
    end_that_request_first(rq, error)
    end_that_request_last(rq)
