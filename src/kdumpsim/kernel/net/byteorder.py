# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers in network byte order (include/linux/byteorder/generic.h), and the end of the Internet
checksum (RFC 1071), whose sum the architecture makes."""

from __future__ import annotations

from kdumpsim.compiler.lang import guest, u16, u32


@guest
def htons(x: u16) -> u16:
    """16 bits from ours to the network's order, or back."""
    return (x << 8) | (x >> 8)


@guest
def htonl(x: u32) -> u32:
    """32 bits from ours to the network's order, or back."""
    return (x << 24) | ((x & 0xFF00) << 8) | ((x >> 8) & 0xFF00) | (x >> 24)


@guest
def csum_fold(sum: u32) -> u16:
    """The checksum to be stored: 0 over data that holds its own."""
    sum = (sum & 0xFFFF) + (sum >> 16)
    sum = (sum & 0xFFFF) + (sum >> 16)
    return u16(~sum & 0xFFFF)
