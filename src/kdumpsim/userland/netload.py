# SPDX-License-Identifier: GPL-2.0-or-later
"""netload [PORT]: send datagrams to the UDP echo service (RFC 862) of 10.0.2.2, check what comes back, for ever.

Lengths go round from 4 bytes to a full frame.  A datagram that doesn't come back within a second is sent again; ten in
a row, or one that comes back changed, end the program with code 1.  PORT is 7, the service's, by default.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import array, cstr, guest, i32, length, ptr, u16, u32, usize
from kdumpsim.userland.lib import fail, nanosleep, parse_number
from kdumpsim.userland.socket import (
    AF_INET,
    EAGAIN,
    SockaddrIn,
    recvfrom,
    sendto,
    set_receive_timeout,
    swap_bytes,
    udp_socket,
)

EIO: Final = 5
STATION: Final = 0x0202000A
"""10.0.2.2, in the network's byte order."""
ECHO_PORT: Final = 7
MAX_WORDS: Final = 368
"""A full frame: 1472 bytes."""
STEP: Final = 61
"""Words from one length to the next; prime to MAX_WORDS, so that all lengths come."""
PATIENCE: Final = 10
TIMEOUT: Final = 1
THINK_TIME: Final = 1_000_000
"""Nanoseconds between two datagrams."""

sent: array[u32] = length(MAX_WORDS)
received: array[u32] = length(MAX_WORDS)


@guest
def same(count: usize) -> bool:
    """Did the words come back as they were sent?"""
    for i in range(count):
        if sent[i] != received[i]:
            return False
    return True


@guest
def exchange(fd: u32, station: ptr[SockaddrIn], count: usize) -> i32:
    """Send `count` words and wait for them; late answers to earlier ones (another first word) are passed over."""
    size: usize = count * 4
    source: SockaddrIn = SockaddrIn()
    n = sendto(fd, sent, size, station)
    if n < 0:
        return n
    while True:
        n = recvfrom(fd, received, MAX_WORDS * 4, source)
        if n < 0:
            return n
        if received[0] == sent[0]:
            return 0 if u32(n) == size and same(count) and source.sin_addr == station.sin_addr else -EIO


@guest
def main(argc: u32, argv: ptr[cstr]) -> i32:
    """The program."""
    port = parse_number(argv[1]) if argc > 1 else ECHO_PORT
    station: SockaddrIn = SockaddrIn(sin_family=AF_INET, sin_addr=STATION)
    station.sin_port = swap_bytes(u16(port & 0xFFFF))
    fd = udp_socket()
    if fd < 0:
        fail("netload: no socket", fd)
    set_receive_timeout(u32(fd), TIMEOUT)
    number: u32 = 0
    lost: u32 = 0
    while lost < PATIENCE:
        count: u32 = number * STEP % MAX_WORDS + 1
        for i in range(count):
            sent[i] = (number << 16) + i
        error = exchange(u32(fd), station, count)
        if error == 0:
            lost = 0
            number += 1
            nanosleep(0, THINK_TIME)
        elif error == -EAGAIN:
            lost += 1
        else:
            fail("netload: the exchange failed", error)
    fail("netload: nobody answers", -EAGAIN)
