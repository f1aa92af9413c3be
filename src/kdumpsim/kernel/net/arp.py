# SPDX-License-Identifier: GPL-2.0-or-later
"""Who has which Ethernet address (RFC 826; net/ipv4/arp.c and the neighbour cache of 2.6.16, in small).

A neighbour that is not known yet is asked for, at most once a second and only when something is sent to it; up to three
packets wait for the answer.  What is known stays known.  Entries are reused in turn.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, array, cast, guest, i32, length, placed, ptr, sizeof, u8, u16, u32
from kdumpsim.kernel.core.config import HZ
from kdumpsim.kernel.core.softirq import local_bh_disable, local_bh_enable
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_unlock
from kdumpsim.kernel.core.string import memcpy
from kdumpsim.kernel.core.timer import jiffies
from kdumpsim.kernel.core.types import ENOBUFS
from kdumpsim.kernel.net.byteorder import htons
from kdumpsim.kernel.net.dev import PacketType, dev_queue_xmit
from kdumpsim.kernel.net.devinet import inet_select_addr
from kdumpsim.kernel.net.eth import ETH_HLEN, ETH_P_ARP, ETH_P_IP, eth_header
from kdumpsim.kernel.net.skbuff import (
    ETH_ALEN,
    NetDevice,
    SkBuff,
    SkBuffHead,
    alloc_skb,
    kfree_skb,
    skb_dequeue,
    skb_put,
    skb_queue_head_init,
    skb_queue_purge,
    skb_queue_tail,
)

ARPHRD_ETHER: Final = 1
ARPOP_REQUEST: Final = 1
ARPOP_REPLY: Final = 2
NR_NEIGHBOURS: Final = 8
MAX_WAITING: Final = 3


class ArpHdr(Struct):
    """An ARP packet for IPv4 on Ethernet."""

    ar_hrd: u16
    ar_pro: u16
    ar_hln: u8
    ar_pln: u8
    ar_op: u16
    ar_sha: array[u8] = length(ETH_ALEN)
    ar_sip: array[u8] = length(4)
    ar_tha: array[u8] = length(ETH_ALEN)
    ar_tip: array[u8] = length(4)


class Neighbour(Struct):
    """An address on the cable; `ip` in the network's order, 0 in a free entry."""

    ip: u32
    known: bool
    ha: array[u8] = length(ETH_ALEN)
    asked: u32
    """In jiffies: when it was asked for last."""
    waiting: SkBuffHead


neighbours: array[Neighbour] = length(NR_NEIGHBOURS)
next_neighbour: u32 = 0
arp_lock: Spinlock = Spinlock(slock=1)
"""Taken with softirqs off."""
eth_broadcast: array[u8] = b"\xff\xff\xff\xff\xff\xff"


@guest
def arp_send(dev: ptr[NetDevice], op: u16, dest: ptr[u8], target_ha: ptr[u8], target_ip: u32) -> None:
    """Send an ARP packet; without memory for it, none."""
    skb = alloc_skb(ETH_HLEN + sizeof(ArpHdr), ETH_HLEN)
    if skb == NULL:
        return
    skb.dev = dev
    arp = cast(ptr[ArpHdr], skb_put(skb, sizeof(ArpHdr)))
    arp.ar_hrd = htons(ARPHRD_ETHER)
    arp.ar_pro = htons(ETH_P_IP)
    arp.ar_hln = ETH_ALEN
    arp.ar_pln = 4
    arp.ar_op = htons(op)
    memcpy(arp.ar_sha, dev.dev_addr, ETH_ALEN)
    cast(ptr[u32], arp.ar_sip)[0] = inet_select_addr(dev)
    memcpy(arp.ar_tha, target_ha, ETH_ALEN)
    cast(ptr[u32], arp.ar_tip)[0] = target_ip
    eth_header(skb, dest, ETH_P_ARP)
    dev_queue_xmit(skb)


@guest
def neigh_lookup(ip: u32) -> ptr[Neighbour]:
    """The entry of an address, made if there is none; arp_lock held."""
    global next_neighbour
    for i in range(NR_NEIGHBOURS):
        if neighbours[i].ip == ip:
            return neighbours[i]
    n: ptr[Neighbour] = neighbours[next_neighbour]
    next_neighbour = (next_neighbour + 1) % NR_NEIGHBOURS
    if n.ip != 0:
        skb_queue_purge(n.waiting)
    skb_queue_head_init(n.waiting)
    n.ip = ip
    n.known = False
    n.asked = jiffies - HZ
    return n


@guest
def neigh_output(skb: ptr[SkBuff], ip: u32) -> i32:
    """Send an IP packet to a neighbour through skb.dev: now, or when the neighbour has said where it is."""
    ha: array[u8] = length(ETH_ALEN)
    ask: bool = False
    result: i32 = 0
    dev = skb.dev
    local_bh_disable()
    spin_lock(arp_lock)
    n = neigh_lookup(ip)
    known = n.known
    if known:
        memcpy(ha, n.ha, ETH_ALEN)
    elif n.waiting.qlen < MAX_WAITING:
        skb_queue_tail(n.waiting, skb)
    else:
        kfree_skb(skb)
        result = -ENOBUFS
    if not known and jiffies - n.asked >= HZ:
        n.asked = jiffies
        ask = True
    spin_unlock(arp_lock)
    if known:
        eth_header(skb, ha, ETH_P_IP)
        result = dev_queue_xmit(skb)
    elif ask:
        nobody: array[u8] = length(ETH_ALEN)
        arp_send(dev, ARPOP_REQUEST, eth_broadcast, nobody, ip)
    local_bh_enable()
    return result


@guest
def neigh_update(ip: u32, ha: ptr[u8], create: bool) -> None:
    """A station has told its address: note it if we wanted to know (or it asked us), and send what waits for it."""
    spin_lock(arp_lock)
    n: ptr[Neighbour] = NULL
    for i in range(NR_NEIGHBOURS):
        if neighbours[i].ip == ip:
            n = neighbours[i]
    if n == NULL and create:
        n = neigh_lookup(ip)
    skb: ptr[SkBuff] = NULL
    if n != NULL:
        memcpy(n.ha, ha, ETH_ALEN)
        n.known = True
        skb = skb_dequeue(n.waiting)
    while skb != NULL:
        eth_header(skb, ha, ETH_P_IP)
        dev_queue_xmit(skb)
        skb = skb_dequeue(n.waiting)
    spin_unlock(arp_lock)


@guest
def arp_rcv(skb: ptr[SkBuff]) -> None:
    """An ARP packet has come: learn from it, and answer if it asks for us."""
    arp = cast(ptr[ArpHdr], skb.data)
    dev = skb.dev
    local = inet_select_addr(dev)
    sound: bool = skb.len >= sizeof(ArpHdr) and arp.ar_hrd == htons(ARPHRD_ETHER) and arp.ar_pro == htons(ETH_P_IP)
    if sound and arp.ar_hln == ETH_ALEN and arp.ar_pln == 4 and local != 0:
        sip: u32 = cast(ptr[u32], arp.ar_sip)[0]
        for_us: bool = cast(ptr[u32], arp.ar_tip)[0] == local
        if sip != 0:
            neigh_update(sip, arp.ar_sha, for_us)
        if for_us and arp.ar_op == htons(ARPOP_REQUEST):
            arp_send(dev, ARPOP_REPLY, arp.ar_sha, arp.ar_sha, sip)
    kfree_skb(skb)


_arp_packets: PacketType = placed("packet_types", PacketType(type=ETH_P_ARP, func=arp_rcv))
