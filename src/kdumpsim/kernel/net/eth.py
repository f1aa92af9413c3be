# SPDX-License-Identifier: GPL-2.0-or-later
"""Ethernet headers (net/ethernet/eth.c, include/linux/if_ether.h)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, array, cast, guest, length, ptr, u8, u16
from kdumpsim.kernel.core.string import memcpy
from kdumpsim.kernel.net.byteorder import htons
from kdumpsim.kernel.net.skbuff import ETH_ALEN, SkBuff, skb_pull, skb_push

ETH_HLEN: Final = 14
ETH_ZLEN: Final = 60
"""The shortest frame, without its CRC."""
ETH_FRAME_LEN: Final = 1514
ETH_P_IP: Final = 0x0800
ETH_P_ARP: Final = 0x0806


class EthHdr(Struct):
    """What every frame begins with."""

    h_dest: array[u8] = length(ETH_ALEN)
    h_source: array[u8] = length(ETH_ALEN)
    h_proto: u16


@guest
def eth_header(skb: ptr[SkBuff], dest: ptr[u8], proto: u16) -> None:
    """Put the header in front of what goes out through skb.dev."""
    eth = cast(ptr[EthHdr], skb_push(skb, ETH_HLEN))
    memcpy(eth.h_dest, dest, ETH_ALEN)
    memcpy(eth.h_source, skb.dev.dev_addr, ETH_ALEN)
    eth.h_proto = htons(proto)


@guest
def eth_type_trans(skb: ptr[SkBuff]) -> None:
    """Take the header off what came in; skb.protocol says what it was."""
    skb.protocol = htons(cast(ptr[EthHdr], skb.data).h_proto)
    skb_pull(skb, ETH_HLEN)
