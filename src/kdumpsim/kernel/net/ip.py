# SPDX-License-Identifier: GPL-2.0-or-later
"""IPv4 without options, fragments and forwarding (RFC 791; net/ipv4/{ip_input,ip_output,route}.c in small).

A protocol above registers by `placed("inet_protocols", NetProtocol(protocol=..., handler=...))`.  There is one
interface; what is not on its network goes to its gateway.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    addr,
    cast,
    fetch_add,
    fn,
    guest,
    i32,
    placed,
    ptr,
    section,
    u8,
    u16,
    u32,
    usize,
)
from kdumpsim.kernel.architecture import csum_partial
from kdumpsim.kernel.core.types import ENETUNREACH
from kdumpsim.kernel.net.arp import eth_broadcast, neigh_output
from kdumpsim.kernel.net.byteorder import csum_fold, htons
from kdumpsim.kernel.net.dev import PacketType, dev_base, dev_queue_xmit
from kdumpsim.kernel.net.devinet import inet_ifa, inet_select_addr
from kdumpsim.kernel.net.eth import ETH_HLEN, ETH_P_IP, eth_header
from kdumpsim.kernel.net.skbuff import NetDevice, SkBuff, kfree_skb, skb_pull, skb_push, skb_trim

IP_VERSION_IHL: Final = 0x45
IP_DEFTTL: Final = 64
IP_FRAGMENT: Final = 0x3FFF
"""More fragments, or an offset; in our byte order."""
INADDR_BROADCAST: Final = 0xFFFFFFFF


class IpHdr(Struct):
    """An IPv4 header; all fields in the network's byte order."""

    version_ihl: u8
    tos: u8
    tot_len: u16
    id: u16
    frag_off: u16
    ttl: u8
    protocol: u8
    check: u16
    saddr: u32
    daddr: u32


IP_HLEN: Final = 20
IP_RESERVE: Final = ETH_HLEN + IP_HLEN
"""Room that the headers down from here need."""


class NetProtocol(Struct):
    """Who gets the packets of an IP protocol: the packet without its IP header, and the header. Takes it over."""

    protocol: u8
    handler: fn[[ptr[SkBuff], ptr[IpHdr]], None]


ip_ident: u32 = 0


@guest
def ip_broadcast(dev: ptr[NetDevice], address: u32) -> bool:
    """Does an address mean everybody on the device's network?"""
    ifa = inet_ifa(dev)
    return address == INADDR_BROADCAST or (ifa != NULL and address == ifa.ifa_local | ~ifa.ifa_mask)


@guest
def ip_local_deliver(skb: ptr[SkBuff], ip: ptr[IpHdr]) -> None:
    """Give a packet to its protocol; what nobody wants is dropped."""
    for protocol in section("inet_protocols", NetProtocol):
        if protocol.protocol == ip.protocol:
            protocol.handler(skb, ip)
            return
    kfree_skb(skb)


@guest
def ip_rcv(skb: ptr[SkBuff]) -> None:
    """An IP packet has come: check it, and take it if it is for us."""
    ip = cast(ptr[IpHdr], skb.data)
    dev = skb.dev
    sound: bool = skb.len >= IP_HLEN and ip.version_ihl == IP_VERSION_IHL
    if sound:
        count: usize = htons(ip.tot_len)
        sound = count >= IP_HLEN and count <= skb.len and csum_fold(csum_partial(skb.data, IP_HLEN, 0)) == 0
        sound = sound and htons(ip.frag_off) & IP_FRAGMENT == 0
        local = inet_select_addr(dev)
        if sound and local != 0 and (ip.daddr == local or ip_broadcast(dev, ip.daddr)):
            skb_trim(skb, count)
            skb_pull(skb, IP_HLEN)
            ip_local_deliver(skb, ip)
            return
        if not sound:
            dev.stats.rx_errors += 1
    kfree_skb(skb)


@guest
def ip_route_output() -> ptr[NetDevice]:
    """The device that leads out: the one with an address; NULL if there is none."""
    dev = dev_base
    while dev != NULL and inet_ifa(dev) == NULL:
        dev = dev.next
    return dev


@guest
def ip_queue_xmit(skb: ptr[SkBuff], protocol: u8, daddr: u32) -> i32:
    """Put the IP header in front of a packet with IP_RESERVE bytes of room there, and send it. Takes it over."""
    dev = ip_route_output()
    if dev == NULL:
        kfree_skb(skb)
        return -ENETUNREACH
    skb.dev = dev
    ip = cast(ptr[IpHdr], skb_push(skb, IP_HLEN))
    ip.version_ihl = IP_VERSION_IHL
    ip.tos = 0
    ip.tot_len = htons(u16(skb.len))
    ip.id = htons(u16(fetch_add(addr(ip_ident), 1) & 0xFFFF))
    ip.frag_off = 0
    ip.ttl = IP_DEFTTL
    ip.protocol = protocol
    ip.check = 0
    ifa = inet_ifa(dev)
    ip.saddr = ifa.ifa_local
    ip.daddr = daddr
    ip.check = csum_fold(csum_partial(skb.data, IP_HLEN, 0))
    if ip_broadcast(dev, daddr):
        eth_header(skb, eth_broadcast, ETH_P_IP)
        return dev_queue_xmit(skb)
    next_hop: u32 = daddr
    if (daddr ^ ifa.ifa_local) & ifa.ifa_mask != 0:
        next_hop = dev.gateway
        if next_hop == 0:
            kfree_skb(skb)
            return -ENETUNREACH
    return neigh_output(skb, next_hop)


_ip_packets: PacketType = placed("packet_types", PacketType(type=ETH_P_IP, func=ip_rcv))
