# SPDX-License-Identifier: GPL-2.0-or-later
"""Between drivers and protocols (net/core/dev.c of 2.6.16): the NET_RX and NET_TX softirqs, the list of devices.

What a driver receives waits in its CPU's backlog for the NET_RX softirq, which gives it to the protocol that was
registered for it: `placed("packet_types", PacketType(type=..., func=...))`.  What is sent waits in the device's queue
while the driver takes nothing.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, addr, array, fn, guest, i32, length, placed, ptr, section, u16, u32
from kdumpsim.kernel.architecture import smp_processor_id
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.softirq import (
    SoftirqVector,
    local_bh_disable,
    local_bh_enable,
    open_softirq,
    raise_softirq,
    raise_softirq_irqoff,
)
from kdumpsim.kernel.core.spinlock import spin_lock, spin_lock_init, spin_unlock
from kdumpsim.kernel.core.types import EIO
from kdumpsim.kernel.core.vsprintf import snprintf
from kdumpsim.kernel.fs.file_types import SeqFile
from kdumpsim.kernel.fs.proc import register_proc
from kdumpsim.kernel.fs.seq_file import seq_printf
from kdumpsim.kernel.net.skbuff import (
    IFNAMSIZ,
    NetDevice,
    SkBuff,
    SkBuffHead,
    kfree_skb,
    skb_dequeue,
    skb_queue_head_init,
    skb_queue_tail,
)

MAX_BACKLOG: Final = 300
MAX_QUEUE: Final = 1000
"""tx_queue_len of an Ethernet device."""
RX_WEIGHT: Final = 64
"""Packets in one run of the softirq."""


class PacketType(Struct):
    """Who gets the packets of an Ethernet protocol; `func` takes them over."""

    type: u16
    func: fn[[ptr[SkBuff]], None]


dev_base: ptr[NetDevice] = NULL
"""All devices; the list is made by initcalls and never changes after."""
softnet_backlog: array[SkBuffHead] = length(NR_CPUS)


@guest
def register_netdev(dev: ptr[NetDevice]) -> None:
    """Add a device, under the next free name."""
    global dev_base
    number: u32 = 0
    other = dev_base
    while other != NULL:
        number += 1
        other = other.next
    snprintf(dev.name, IFNAMSIZ, "eth%u", number)
    skb_queue_head_init(dev.queue)
    spin_lock_init(dev.xmit_lock)
    dev.next = dev_base
    dev_base = dev


@guest
def dev_open(dev: ptr[NetDevice]) -> i32:
    """Bring a device up; 0 or a negative errno."""
    error: i32 = dev.open(dev)
    if error == 0:
        dev.up = True
    return error


@guest
def netif_rx(skb: ptr[SkBuff]) -> None:
    """A driver's interrupt handler has received a packet; the softirq does the rest."""
    backlog: ptr[SkBuffHead] = softnet_backlog[smp_processor_id()]
    if backlog.qlen >= MAX_BACKLOG:
        skb.dev.stats.rx_dropped += 1
        kfree_skb(skb)
        return
    skb_queue_tail(backlog, skb)
    raise_softirq(SoftirqVector.NET_RX_SOFTIRQ)


@guest
def deliver_skb(skb: ptr[SkBuff]) -> None:
    """Give a packet to its protocol; what nobody wants is dropped."""
    for kind in section("packet_types", PacketType):
        if kind.type == skb.protocol:
            kind.func(skb)
            return
    kfree_skb(skb)


@guest
def net_rx_action() -> None:
    """The NET_RX softirq: deliver this CPU's backlog, a weight at a time."""
    backlog: ptr[SkBuffHead] = softnet_backlog[smp_processor_id()]
    for _ in range(RX_WEIGHT):
        skb = skb_dequeue(backlog)
        if skb == NULL:
            return
        deliver_skb(skb)
    raise_softirq(SoftirqVector.NET_RX_SOFTIRQ)


@guest
def qdisc_run(dev: ptr[NetDevice]) -> None:
    """Hand the driver what waits, as long as it takes it; dev.xmit_lock held."""
    while not dev.queue_stopped:
        skb = skb_dequeue(dev.queue)
        if skb == NULL:
            return
        dev.hard_start_xmit(skb, dev)


@guest
def dev_queue_xmit(skb: ptr[SkBuff]) -> i32:
    """Send a packet through skb.dev; 0, or -EIO if it was dropped. Takes the packet over in any case."""
    dev = skb.dev
    if not dev.up or dev.queue.qlen >= MAX_QUEUE:
        dev.stats.tx_dropped += 1
        kfree_skb(skb)
        return -EIO
    skb_queue_tail(dev.queue, skb)
    local_bh_disable()
    spin_lock(dev.xmit_lock)
    qdisc_run(dev)
    spin_unlock(dev.xmit_lock)
    local_bh_enable()
    return 0


@guest
def netif_stop_queue(dev: ptr[NetDevice]) -> None:
    """The driver takes nothing for now."""
    dev.queue_stopped = True


@guest
def netif_wake_queue(dev: ptr[NetDevice]) -> None:
    """The driver takes packets again; called with interrupts off. The softirq goes on with the queue."""
    if dev.queue_stopped:
        dev.queue_stopped = False
        raise_softirq_irqoff(SoftirqVector.NET_TX_SOFTIRQ)


@guest
def net_tx_action() -> None:
    """The NET_TX softirq."""
    dev = dev_base
    while dev != NULL:
        spin_lock(dev.xmit_lock)
        qdisc_run(dev)
        spin_unlock(dev.xmit_lock)
        dev = dev.next


@guest
def dev_show(m: ptr[SeqFile]) -> i32:
    """/proc/net/dev: what went through each device."""
    seq_printf(m, "Inter-|   Receive                          |  Transmit\n")
    seq_printf(m, " face |bytes    packets errs drop fifo |bytes    packets errs drop\n")
    dev = dev_base
    while dev != NULL:
        s = addr(dev.stats)
        seq_printf(m, f"{dev.name:6s}:{s.rx_bytes:8d} {s.rx_packets:7d} {s.rx_errors:4d} {s.rx_dropped:4d} ")
        seq_printf(m, f"{s.rx_over_errors:4d} {s.tx_bytes:8d} {s.tx_packets:7d} {s.tx_errors:4d} {s.tx_dropped:4d}\n")
        dev = dev.next
    return 0


@guest
def net_dev_init() -> i32:
    """The softirqs, the backlogs and /proc/net/dev."""
    for cpu in range(NR_CPUS):
        skb_queue_head_init(softnet_backlog[cpu])
    open_softirq(SoftirqVector.NET_TX_SOFTIRQ, net_tx_action)
    open_softirq(SoftirqVector.NET_RX_SOFTIRQ, net_rx_action)
    return register_proc("/proc/net/dev", dev_show, NULL)


_init_net_dev: fn[[], i32] = placed("initcall4", net_dev_init)
