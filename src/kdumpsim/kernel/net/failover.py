# SPDX-License-Identifier: GPL-2.0-or-later
"""A notice of the crash to a peer, so that a backup can take over sooner (LKDTT paper, section 9).

``failover=ADDRESS`` names the peer.  One UDP datagram goes to the port of Linux-HA's heartbeat, once the other CPUs
have stopped and before the hand-over.  It takes no lock and looks nothing up: the frame is an Ethernet
broadcast, as netconsole's is where it knows no address, and the driver polls.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, addr, array, cast, cstr, guest, i32, length, placed, ptr, u8, u16, u32
from kdumpsim.kernel.architecture import csum_partial
from kdumpsim.kernel.core.panic import panic_buf
from kdumpsim.kernel.core.params import ObsKernelParam
from kdumpsim.kernel.core.string import memcpy, strlcpy
from kdumpsim.kernel.core.types import EINVAL
from kdumpsim.kernel.net.arp import eth_broadcast
from kdumpsim.kernel.net.byteorder import csum_fold, htons
from kdumpsim.kernel.net.devinet import inet_select_addr
from kdumpsim.kernel.net.eth import ETH_HLEN, ETH_P_IP, EthHdr
from kdumpsim.kernel.net.ip import IP_DEFTTL, IP_HLEN, IP_VERSION_IHL, IpHdr, ip_route_output
from kdumpsim.kernel.net.ipconfig import in_aton
from kdumpsim.kernel.net.skbuff import ETH_ALEN, NetDevice
from kdumpsim.kernel.net.udp import IPPROTO_UDP, UDP_HLEN, UdpHdr

HA_CLUSTER: Final = 694
"""IANA's name for the port."""
TEXT_SIZE: Final = 64
UDP_LENGTH: Final = UDP_HLEN + TEXT_SIZE
IP_LENGTH: Final = IP_HLEN + UDP_LENGTH
FRAME_SIZE: Final = ETH_HLEN + IP_LENGTH

failover_peer: u32 = 0
"""In the network's byte order; 0: there is none."""
failover_frame: array[u8] = length(FRAME_SIZE, align=4)


@guest
def failover_setup(value: cstr) -> i32:
    """failover=ADDRESS"""
    global failover_peer
    end: cstr = value
    failover_peer = in_aton(value, addr(end))
    return 0 if failover_peer != 0 and end[0] == 0 else -EINVAL


_param_failover: ObsKernelParam = placed("setup_params", ObsKernelParam(str="failover=", setup_func=failover_setup))


@guest
def failover_notify() -> None:
    """Tell the peer why this kernel dies; without a peer or a network that is up, nothing."""
    dev: ptr[NetDevice] = ip_route_output()
    if failover_peer == 0 or dev == NULL or not dev.up or dev.poll_send == NULL:
        return
    eth = cast(ptr[EthHdr], failover_frame)
    memcpy(eth.h_dest, eth_broadcast, ETH_ALEN)
    memcpy(eth.h_source, dev.dev_addr, ETH_ALEN)
    eth.h_proto = htons(ETH_P_IP)
    ip = cast(ptr[IpHdr], failover_frame + ETH_HLEN)
    ip.version_ihl = IP_VERSION_IHL
    ip.tot_len = htons(u16(IP_LENGTH))
    ip.ttl = IP_DEFTTL
    ip.protocol = IPPROTO_UDP
    ip.saddr = inet_select_addr(dev)
    ip.daddr = failover_peer
    ip.check = 0
    ip.check = csum_fold(csum_partial(cast(ptr[u8], ip), IP_HLEN, 0))
    udp = cast(ptr[UdpHdr], failover_frame + ETH_HLEN + IP_HLEN)
    udp.source = htons(HA_CLUSTER)
    udp.dest = htons(HA_CLUSTER)
    udp.len = htons(u16(UDP_LENGTH))
    udp.check = 0  # none: RFC 768
    strlcpy(failover_frame + ETH_HLEN + IP_HLEN + UDP_HLEN, panic_buf, TEXT_SIZE)
    dev.poll_send(dev, failover_frame, FRAME_SIZE)
