# SPDX-License-Identifier: GPL-2.0-or-later
"""ICMP: who is pinged answers (RFC 792; net/ipv4/icmp.c in small). Other messages are dropped, none is sent."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, cast, guest, placed, ptr, u8, u16, u32
from kdumpsim.kernel.architecture import csum_partial
from kdumpsim.kernel.core.string import memcpy
from kdumpsim.kernel.net.byteorder import csum_fold
from kdumpsim.kernel.net.devinet import inet_select_addr
from kdumpsim.kernel.net.ip import IP_RESERVE, IpHdr, NetProtocol, ip_queue_xmit
from kdumpsim.kernel.net.skbuff import SkBuff, alloc_skb, kfree_skb, skb_put

IPPROTO_ICMP: Final = 1
ICMP_ECHOREPLY: Final = 0
ICMP_ECHO: Final = 8
ICMP_HLEN: Final = 8


class IcmpHdr(Struct):
    """An ICMP header."""

    type: u8
    code: u8
    checksum: u16
    rest: u32


@guest
def icmp_rcv(skb: ptr[SkBuff], ip: ptr[IpHdr]) -> None:
    """A message has come; an echo request that was sent to us alone is answered."""
    icmp = cast(ptr[IcmpHdr], skb.data)
    sound: bool = skb.len >= ICMP_HLEN and csum_fold(csum_partial(skb.data, skb.len, 0)) == 0
    if sound and icmp.type == ICMP_ECHO and ip.daddr == inet_select_addr(skb.dev):
        reply = alloc_skb(IP_RESERVE + skb.len, IP_RESERVE)
        if reply != NULL:
            memcpy(skb_put(reply, skb.len), skb.data, skb.len)
            answer = cast(ptr[IcmpHdr], reply.data)
            answer.type = ICMP_ECHOREPLY
            answer.checksum = 0
            answer.checksum = csum_fold(csum_partial(reply.data, reply.len, 0))
            ip_queue_xmit(reply, IPPROTO_ICMP, ip.saddr)
    kfree_skb(skb)


_icmp_protocol: NetProtocol = placed("inet_protocols", NetProtocol(protocol=IPPROTO_ICMP, handler=icmp_rcv))
