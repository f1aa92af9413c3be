# SPDX-License-Identifier: GPL-2.0-or-later
"""The BLOCK softirq: what the interrupt left over of requests is done here (Linux block/ll_rw_blk.c, 2.6.16)."""

from __future__ import annotations

from kdumpsim.compiler.lang import array, container_of, fn, guest, i32, length, placed, ptr
from kdumpsim.kernel.architecture import (
    local_irq_disable,
    local_irq_enable,
    local_irq_restore,
    local_irq_save,
    smp_processor_id,
)
from kdumpsim.kernel.block.blk_types import Request
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.list import init_list_head, list_add_tail, list_del, list_empty
from kdumpsim.kernel.core.softirq import SoftirqVector, open_softirq, raise_softirq_irqoff
from kdumpsim.kernel.core.types import ListHead

blk_cpu_done: array[ListHead] = length(NR_CPUS)


@guest
def blk_complete_request(rq: ptr[Request]) -> None:
    """The device is done with a request: have the softirq of this CPU call the queue's softirq_done_fn."""
    flags = local_irq_save()
    list_add_tail(rq.queuelist, blk_cpu_done[smp_processor_id()])
    raise_softirq_irqoff(SoftirqVector.BLOCK_SOFTIRQ)
    local_irq_restore(flags)


@guest
def blk_done_softirq() -> None:
    """The BLOCK softirq."""
    local_irq_disable()
    head: ptr[ListHead] = blk_cpu_done[smp_processor_id()]
    while not list_empty(head):
        rq = container_of(head.next, Request, "queuelist")
        list_del(rq.queuelist)
        local_irq_enable()
        rq.q.softirq_done_fn(rq)
        local_irq_disable()
    local_irq_enable()


@guest
def blk_dev_init() -> i32:
    """Empty lists, and the softirq."""
    for cpu in range(NR_CPUS):
        init_list_head(blk_cpu_done[cpu])
    open_softirq(SoftirqVector.BLOCK_SOFTIRQ, blk_done_softirq)
    return 0


_init_blk_dev: fn[[], i32] = placed("initcall4", blk_dev_init)
