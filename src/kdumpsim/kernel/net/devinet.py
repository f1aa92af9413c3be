# SPDX-License-Identifier: GPL-2.0-or-later
"""The IP addresses of network devices (net/ipv4/devinet.c of 2.6.16; its in_device and in_ifaddr).

All are in the network's byte order.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, Struct, array, cast, guest, i32, length, ptr, sizeof, u8, u32
from kdumpsim.kernel.core.string import strlcpy
from kdumpsim.kernel.core.types import ENOMEM
from kdumpsim.kernel.mm.slab import kfree, kzalloc
from kdumpsim.kernel.net.skbuff import IFNAMSIZ, NetDevice


class InIfaddr(Struct):
    """An address of a device."""

    ifa_next: ptr[InIfaddr]
    ifa_dev: ptr[InDevice]
    ifa_local: u32
    """Our own address."""
    ifa_address: u32
    """The same, or of a link between two the other end's."""
    ifa_mask: u32
    ifa_label: array[u8] = length(IFNAMSIZ)


class InDevice(Struct):
    """What IP knows of a device: `net_device.ip_ptr` points here."""

    dev: ptr[NetDevice]
    ifa_list: ptr[InIfaddr]


@guest
def inet_ifa(dev: ptr[NetDevice]) -> ptr[InIfaddr]:
    """The device's first address, NULL while it has none."""
    in_dev = cast(ptr[InDevice], dev.ip_ptr)
    return NULL if in_dev == NULL else in_dev.ifa_list


@guest
def inet_select_addr(dev: ptr[NetDevice]) -> u32:
    """The address that packets through a device come from, 0 while it has none."""
    ifa = inet_ifa(dev)
    return 0 if ifa == NULL else ifa.ifa_local


@guest
def inetdev_init(dev: ptr[NetDevice]) -> ptr[InDevice]:
    """What IP knows of a device, made when it gets its first address; NULL without memory."""
    if dev.ip_ptr == NULL:
        in_dev = cast(ptr[InDevice], kzalloc(sizeof(InDevice)))
        if in_dev == NULL:
            return NULL
        in_dev.dev = dev
        dev.ip_ptr = in_dev
    return cast(ptr[InDevice], dev.ip_ptr)


@guest
def inet_insert_ifa(dev: ptr[NetDevice], address: u32, mask: u32) -> i32:
    """Give a device an address; 0 or -ENOMEM."""
    in_dev = inetdev_init(dev)
    ifa = cast(ptr[InIfaddr], kzalloc(sizeof(InIfaddr)))
    if in_dev == NULL or ifa == NULL:
        kfree(ifa)
        return -ENOMEM
    ifa.ifa_dev = in_dev
    ifa.ifa_local = address
    ifa.ifa_address = address
    ifa.ifa_mask = mask
    strlcpy(ifa.ifa_label, dev.name, IFNAMSIZ)
    ifa.ifa_next = in_dev.ifa_list
    in_dev.ifa_list = ifa
    return 0


@guest
def inet_del_ifa(dev: ptr[NetDevice]) -> None:
    """Take a device's first address away."""
    in_dev = cast(ptr[InDevice], dev.ip_ptr)
    ifa = in_dev.ifa_list
    in_dev.ifa_list = ifa.ifa_next
    kfree(ifa)
