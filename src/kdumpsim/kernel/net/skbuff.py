# SPDX-License-Identifier: GPL-2.0-or-later
"""Network devices and the buffers that pass between them and the protocols (include/linux/{skbuff,netdevice}.h)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    array,
    cast,
    fn,
    guest,
    i32,
    length,
    ptr,
    sizeof,
    u8,
    u16,
    u32,
    usize,
    void,
)
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock_init, spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.mm.slab import kfree, kmalloc

IFNAMSIZ: Final = 16
ETH_ALEN: Final = 6


class SkBuff(Struct):
    """A packet: `len` bytes at `data`, in a buffer that lies right behind this structure."""

    next: ptr["SkBuff"]
    dev: ptr["NetDevice"]
    data: ptr[u8]
    len: usize
    protocol: u16
    """Of the Ethernet header, in our byte order."""
    source_port: u16
    """Where a datagram came from, for who receives it; `source` is in the network's order."""
    source: u32


class SkBuffHead(Struct):
    """A queue of packets."""

    first: ptr[SkBuff]
    last: ptr[SkBuff]
    qlen: u32
    lock: Spinlock


class NetDeviceStats(Struct):
    """What /proc/net/dev tells of a device."""

    rx_packets: u32
    rx_bytes: u32
    rx_errors: u32
    rx_dropped: u32
    rx_over_errors: u32
    tx_packets: u32
    tx_bytes: u32
    tx_errors: u32
    tx_dropped: u32


class NetDevice(Struct):
    """A network interface."""

    name: array[u8] = length(IFNAMSIZ)
    dev_addr: array[u8] = length(ETH_ALEN)
    up: bool
    queue_stopped: bool
    """The driver takes no packets until netif_wake_queue()."""
    ip_ptr: ptr[void]
    """What IP knows of it (devinet.py), NULL while it has no address."""
    gateway: u32
    """The way out of its network, in the network's byte order; 0 if there is none."""
    open: fn[[ptr["NetDevice"]], i32]
    hard_start_xmit: fn[[ptr[SkBuff], ptr["NetDevice"]], None]
    """Takes the packet over; called with xmit_lock held and softirqs off."""
    poll_send: fn[[ptr["NetDevice"], ptr[u8], usize], bool]
    """Sends one frame by polling, with nothing else running and whatever the driver was at; the last thing it does."""
    priv: ptr[void]
    queue: SkBuffHead
    xmit_lock: Spinlock
    stats: NetDeviceStats
    next: ptr["NetDevice"]


@guest
def alloc_skb(room: usize, reserve: usize) -> ptr[SkBuff]:
    """An empty packet whose data will begin `reserve` bytes into a buffer of `room` bytes; NULL without memory."""
    skb = cast(ptr[SkBuff], kmalloc(sizeof(SkBuff) + room))
    if skb != NULL:
        skb.next = NULL
        skb.dev = NULL
        skb.data = cast(ptr[u8], skb) + sizeof(SkBuff) + reserve
        skb.len = 0
    return skb


@guest
def kfree_skb(skb: ptr[SkBuff]) -> None:
    """Drop a packet."""
    kfree(skb)


@guest
def skb_put(skb: ptr[SkBuff], count: usize) -> ptr[u8]:
    """Make a packet longer at its end; where the new bytes begin. The caller knows that there is room."""
    at = skb.data + skb.len
    skb.len += count
    return at


@guest
def skb_push(skb: ptr[SkBuff], count: usize) -> ptr[u8]:
    """Make a packet longer at its start, for a header."""
    skb.data = cast(ptr[u8], usize(skb.data) - count)
    skb.len += count
    return skb.data


@guest
def skb_pull(skb: ptr[SkBuff], count: usize) -> None:
    """Take a header off."""
    skb.data = skb.data + count
    skb.len -= count


@guest
def skb_trim(skb: ptr[SkBuff], count: usize) -> None:
    """Cut a packet down to `count` bytes."""
    skb.len = count


@guest
def skb_queue_head_init(queue: ptr[SkBuffHead]) -> None:
    """Make an empty queue."""
    queue.first = NULL
    queue.last = NULL
    queue.qlen = 0
    spin_lock_init(queue.lock)


@guest
def skb_queue_tail(queue: ptr[SkBuffHead], skb: ptr[SkBuff]) -> None:
    """Put a packet at the end."""
    flags = spin_lock_irqsave(queue.lock)
    skb.next = NULL
    if queue.last != NULL:
        queue.last.next = skb
    else:
        queue.first = skb
    queue.last = skb
    queue.qlen += 1
    spin_unlock_irqrestore(queue.lock, flags)


@guest
def skb_dequeue(queue: ptr[SkBuffHead]) -> ptr[SkBuff]:
    """Take the first packet, or NULL."""
    flags = spin_lock_irqsave(queue.lock)
    skb = queue.first
    if skb != NULL:
        queue.first = skb.next
        if queue.first == NULL:
            queue.last = NULL
        queue.qlen -= 1
    spin_unlock_irqrestore(queue.lock, flags)
    return skb


@guest
def skb_queue_purge(queue: ptr[SkBuffHead]) -> None:
    """Drop all packets of a queue."""
    skb = skb_dequeue(queue)
    while skb != NULL:
        kfree_skb(skb)
        skb = skb_dequeue(queue)
