# SPDX-License-Identifier: GPL-2.0-or-later
"""UDP sockets: socketcall(2) by the names of its calls."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, addr, array, guest, i32, length, ptr, sizeof, u8, u16, u32, usize, void
from kdumpsim.userland.syscall import syscall3

NR_SOCKETCALL: Final = 102
SYS_SOCKET: Final = 1
SYS_BIND: Final = 2
SYS_SENDTO: Final = 11
SYS_RECVFROM: Final = 12
SYS_SETSOCKOPT: Final = 14

AF_INET: Final = 2
SOCK_DGRAM: Final = 2
SOL_SOCKET: Final = 1
SO_RCVTIMEO: Final = 20
EAGAIN: Final = 11


class SockaddrIn(Struct):
    """An Internet address; port and address in the network's byte order."""

    sin_family: u16
    sin_port: u16
    sin_addr: u32
    sin_zero: array[u8] = length(8)


class Timeval(Struct):
    """Seconds and microseconds."""

    tv_sec: u32
    tv_usec: u32


@guest
def socketcall(call: u32, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> i32:
    """A call with up to six arguments."""
    arguments: array[usize] = length(6)
    arguments[0] = a
    arguments[1] = b
    arguments[2] = c
    arguments[3] = d
    arguments[4] = e
    arguments[5] = f
    return syscall3(NR_SOCKETCALL, call, usize(arguments), 0)


@guest
def udp_socket() -> i32:
    """socket(2): a UDP socket."""
    return socketcall(SYS_SOCKET, AF_INET, SOCK_DGRAM, 0, 0, 0, 0)


@guest
def bind(fd: u32, address: ptr[SockaddrIn]) -> i32:
    """bind(2)"""
    return socketcall(SYS_BIND, fd, usize(address), sizeof(SockaddrIn), 0, 0, 0)


@guest
def sendto(fd: u32, data: ptr[void], count: usize, address: ptr[SockaddrIn]) -> i32:
    """sendto(2)"""
    return socketcall(SYS_SENDTO, fd, usize(data), count, 0, usize(address), sizeof(SockaddrIn))


@guest
def recvfrom(fd: u32, data: ptr[void], count: usize, address: ptr[SockaddrIn]) -> i32:
    """recvfrom(2)"""
    size: usize = sizeof(SockaddrIn)
    return socketcall(SYS_RECVFROM, fd, usize(data), count, 0, usize(address), usize(addr(size)))


@guest
def set_receive_timeout(fd: u32, seconds: u32) -> i32:
    """setsockopt(2), SO_RCVTIMEO: recvfrom() then ends with -EAGAIN."""
    time: Timeval = Timeval(tv_sec=seconds)
    return socketcall(SYS_SETSOCKOPT, fd, SOL_SOCKET, SO_RCVTIMEO, usize(time), sizeof(Timeval), 0)


@guest
def swap_bytes(x: u16) -> u16:
    """htons(3), ntohs(3)"""
    return (x << 8) | (x >> 8)
