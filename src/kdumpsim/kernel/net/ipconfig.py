# SPDX-License-Identifier: GPL-2.0-or-later
"""``ip=CLIENT::GATEWAY:NETMASK``: bring the network up before any program runs (net/ipv4/ipconfig.c, its static part).

As in 2.6.16 nothing else opens a device in the kernel: without the option the card stays as its driver's probe left it.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, addr, array, cstr, fn, guest, i32, length, placed, ptr, u8, u32
from kdumpsim.kernel.core.params import cmdline_find
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.string import simple_strtoul
from kdumpsim.kernel.core.types import EINVAL, ENODEV
from kdumpsim.kernel.net.dev import dev_base, dev_open
from kdumpsim.kernel.net.devinet import inet_del_ifa, inet_insert_ifa
from kdumpsim.kernel.net.skbuff import NetDevice

VALUE_SIZE: Final = 64
CLASS_C: Final = 0x00FFFFFF
"""255.255.255.0, in the network's byte order."""


@guest
def in_aton(text: cstr, end: ptr[cstr]) -> u32:
    """An address from dotted decimals, in the network's byte order; 0 if there is none."""
    address: u32 = 0
    at: cstr = text
    for i in range(4):
        rest: cstr = at
        value = simple_strtoul(at, addr(rest), 10)
        if rest == at or value > 255:
            return 0
        address |= value << (8 * i)
        at = rest
        if i < 3:
            if at[0] != ord("."):
                return 0
            at = at + 1
    end[0] = at
    return address


@guest
def next_field(text: cstr) -> cstr:
    """What is behind the next colon, or the end."""
    at: cstr = text
    while at[0] != 0 and at[0] != ord(":"):
        at = at + 1
    return at + 1 if at[0] != 0 else at


@guest
def print_address(name: cstr, a: u32) -> None:
    """An address as dotted decimals, with its name in front."""
    printk(f", {name:s}={a & 255}.{a >> 8 & 255}.{a >> 16 & 255}.{a >> 24}")


@guest
def ip_auto_config() -> i32:
    """Give the first device the address asked for, and open it."""
    value: array[u8] = length(VALUE_SIZE)
    if not cmdline_find("ip=", value, VALUE_SIZE):
        return 0
    text: cstr = value
    end: cstr = text
    address = in_aton(text, addr(end))
    if address == 0:
        printk(f"<3>IP-Config: '{text:s}' is no address\n")
        return -EINVAL
    gateway_text = next_field(next_field(text))
    gateway = in_aton(gateway_text, addr(end))
    netmask = in_aton(next_field(gateway_text), addr(end))
    dev: ptr[NetDevice] = dev_base
    if dev == NULL:
        printk("<3>IP-Config: No network devices available.\n")
        return -ENODEV
    if netmask == 0:
        netmask = CLASS_C
    error = inet_insert_ifa(dev, address, netmask)
    if error != 0:
        return error
    dev.gateway = gateway
    error = dev_open(dev)
    if error != 0:
        inet_del_ifa(dev)
        printk(f"<3>IP-Config: Failed to open {dev.name:s}\n")
        return error
    printk(f"<6>IP-Config: Complete:\n      device={dev.name:s}")
    print_address("addr", address)
    print_address("mask", netmask)
    print_address("gw", gateway)
    printk("\n")
    return 0


_init_ipconfig: fn[[], i32] = placed("initcall7", ip_auto_config)
