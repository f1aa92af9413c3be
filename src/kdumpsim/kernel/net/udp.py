# SPDX-License-Identifier: GPL-2.0-or-later
"""UDP and its sockets (RFC 768; net/ipv4/udp.c in small): ports, queues of datagrams, checksums."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, cast, guest, i32, placed, ptr, sizeof, u8, u16, u32, usize
from kdumpsim.kernel.architecture import copy_from_user, copy_to_user, csum_partial
from kdumpsim.kernel.core.sched import signal_pending
from kdumpsim.kernel.core.sched_types import TASK_INTERRUPTIBLE
from kdumpsim.kernel.core.softirq import local_bh_disable, local_bh_enable
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_unlock
from kdumpsim.kernel.core.timer import MAX_SCHEDULE_TIMEOUT, schedule_timeout
from kdumpsim.kernel.core.types import EADDRINUSE, EAGAIN, EDESTADDRREQ, EFAULT, EINTR, EMSGSIZE, ENETUNREACH, ENOBUFS
from kdumpsim.kernel.core.wait import WaitEntry, WaitQueue, finish_wait, init_waitqueue, prepare_to_wait, wake_up
from kdumpsim.kernel.mm.slab import kfree, kzalloc
from kdumpsim.kernel.net.byteorder import csum_fold, htons
from kdumpsim.kernel.net.devinet import inet_select_addr
from kdumpsim.kernel.net.ip import IP_RESERVE, IpHdr, NetProtocol, ip_queue_xmit, ip_route_output
from kdumpsim.kernel.net.skbuff import (
    SkBuff,
    SkBuffHead,
    alloc_skb,
    kfree_skb,
    skb_dequeue,
    skb_pull,
    skb_put,
    skb_queue_head_init,
    skb_queue_purge,
    skb_queue_tail,
    skb_trim,
)

IPPROTO_UDP: Final = 17
UDP_HLEN: Final = 8
MAX_DATAGRAM: Final = 1472
"""What fits an Ethernet frame."""
MAX_RECEIVE_QUEUE: Final = 32
FIRST_EPHEMERAL: Final = 1024
LAST_EPHEMERAL: Final = 4999


class UdpHdr(Struct):
    """A UDP header, in the network's byte order."""

    source: u16
    dest: u16
    len: u16
    check: u16


class Sock(Struct):
    """A UDP socket."""

    port: u16
    """In our byte order; 0 while it has none."""
    rcvtimeo: u32
    """Ticks to wait for a datagram."""
    receive_queue: SkBuffHead
    wait: WaitQueue
    next: ptr["Sock"]


udp_socks: ptr[Sock] = NULL
"""All sockets that have a port."""
udp_lock: Spinlock = Spinlock(slock=1)
"""Taken with softirqs off."""
udp_rover: u16 = FIRST_EPHEMERAL


@guest
def udp_create() -> ptr[Sock]:
    """A new socket, without a port; NULL without memory."""
    sk = cast(ptr[Sock], kzalloc(sizeof(Sock)))
    if sk != NULL:
        sk.rcvtimeo = MAX_SCHEDULE_TIMEOUT
        skb_queue_head_init(sk.receive_queue)
        init_waitqueue(sk.wait)
    return sk


@guest
def udp_lookup(port: u16) -> ptr[Sock]:
    """Whose port it is, or NULL; udp_lock held."""
    sk = udp_socks
    while sk != NULL and sk.port != port:
        sk = sk.next
    return sk


@guest
def udp_get_port(sk: ptr[Sock], port: u16) -> i32:
    """Give a socket a port, any free one for 0."""
    global udp_rover, udp_socks
    error: i32 = 0
    local_bh_disable()
    spin_lock(udp_lock)
    if port == 0:
        port = udp_rover
        while udp_lookup(port) != NULL:
            port = port + 1 if port < LAST_EPHEMERAL else FIRST_EPHEMERAL
        udp_rover = port + 1 if port < LAST_EPHEMERAL else FIRST_EPHEMERAL
    elif udp_lookup(port) != NULL:
        error = -EADDRINUSE
    if error == 0:
        sk.port = port
        sk.next = udp_socks
        udp_socks = sk
    spin_unlock(udp_lock)
    local_bh_enable()
    return error


@guest
def udp_destroy(sk: ptr[Sock]) -> None:
    """Close a socket; what it has not read is dropped."""
    global udp_socks
    local_bh_disable()
    spin_lock(udp_lock)
    if udp_socks == sk:
        udp_socks = sk.next
    else:
        before = udp_socks
        while before != NULL and before.next != sk:
            before = before.next
        if before != NULL:
            before.next = sk.next
    spin_unlock(udp_lock)
    local_bh_enable()
    skb_queue_purge(sk.receive_queue)
    kfree(sk)


@guest
def udp_checksum(saddr: u32, daddr: u32, data: ptr[u8], count: usize) -> u16:
    """Of a datagram with its header, and the addresses and length that the pseudo header has."""
    sum: u32 = (saddr & 0xFFFF) + (saddr >> 16) + (daddr & 0xFFFF) + (daddr >> 16)
    sum += htons(IPPROTO_UDP) + u32(htons(u16(count)))
    return csum_fold(csum_partial(data, count, sum))


@guest
def udp_rcv(skb: ptr[SkBuff], ip: ptr[IpHdr]) -> None:
    """A datagram has come: queue it at its socket, and wake who waits there. Without a socket it is dropped."""
    udp = cast(ptr[UdpHdr], skb.data)
    sound: bool = skb.len >= UDP_HLEN
    if sound:
        count: usize = htons(udp.len)
        sound = count >= UDP_HLEN and count <= skb.len
        skb_trim(skb, count)
    if not sound:
        kfree_skb(skb)
        return
    spin_lock(udp_lock)
    sk = udp_lookup(htons(udp.dest))
    if sk != NULL and sk.receive_queue.qlen < MAX_RECEIVE_QUEUE:
        if udp.check == 0 or udp_checksum(ip.saddr, ip.daddr, skb.data, skb.len) == 0:
            skb.source = ip.saddr
            skb.source_port = htons(udp.source)
            skb_pull(skb, UDP_HLEN)
            skb_queue_tail(sk.receive_queue, skb)
            skb = NULL
            wake_up(sk.wait)
    spin_unlock(udp_lock)
    if skb != NULL:
        kfree_skb(skb)


@guest
def udp_sendmsg(sk: ptr[Sock], data: u32, count: usize, daddr: u32, port: u16) -> i32:
    """Send bytes of the caller's memory as one datagram; how many, or a negative errno."""
    if port == 0 or daddr == 0:
        return -EDESTADDRREQ
    if count > MAX_DATAGRAM:
        return -EMSGSIZE
    dev = ip_route_output()
    if dev == NULL:
        return -ENETUNREACH
    if sk.port == 0:
        udp_get_port(sk, 0)
    reserve: usize = IP_RESERVE + UDP_HLEN
    skb = alloc_skb(reserve + count, reserve - UDP_HLEN)
    if skb == NULL:
        return -ENOBUFS
    udp = cast(ptr[UdpHdr], skb_put(skb, UDP_HLEN))
    if copy_from_user(skb_put(skb, count), data, count) != 0:
        kfree_skb(skb)
        return -EFAULT
    udp.source = htons(sk.port)
    udp.dest = htons(port)
    udp.len = htons(u16(skb.len))
    udp.check = 0
    udp.check = udp_checksum(inet_select_addr(dev), daddr, skb.data, skb.len)
    if udp.check == 0:
        udp.check = 0xFFFF
    error = ip_queue_xmit(skb, IPPROTO_UDP, daddr)
    return error if error < 0 else i32(count)


@guest
def udp_wait(sk: ptr[Sock]) -> ptr[SkBuff]:
    """The next datagram, waited for as long as the socket says; NULL if none came, or a signal did."""
    wait: WaitEntry = WaitEntry()
    left = sk.rcvtimeo
    while True:
        prepare_to_wait(sk.wait, wait, TASK_INTERRUPTIBLE)
        skb = skb_dequeue(sk.receive_queue)
        if skb != NULL or left == 0 or signal_pending():
            break
        left = schedule_timeout(left)
    finish_wait(sk.wait, wait)
    return skb


@guest
def udp_recvmsg(sk: ptr[Sock], data: u32, count: usize, source: ptr[u32], port: ptr[u16]) -> i32:
    """Bring a datagram to the caller's memory, cut off at `count`; how many bytes, and where it came from."""
    skb = udp_wait(sk)
    if skb == NULL:
        return -EINTR if signal_pending() else -EAGAIN
    n: usize = min(skb.len, count)
    source[0] = skb.source
    port[0] = skb.source_port
    result: i32 = -EFAULT if copy_to_user(data, skb.data, n) != 0 else i32(n)
    kfree_skb(skb)
    return result


_udp_protocol: NetProtocol = placed("inet_protocols", NetProtocol(protocol=IPPROTO_UDP, handler=udp_rcv))
