# SPDX-License-Identifier: GPL-2.0-or-later
"""A ring-3 program: what the socket calls refuse, with which errno, and two sockets that talk by way of the station."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import addr, array, cast, cstr, guest, i32, length, ptr, u32, void
from kdumpsim.userland.lib import close, put_number, puts, read
from kdumpsim.userland.socket import (
    AF_INET,
    SOCK_DGRAM,
    SYS_BIND,
    SYS_SENDTO,
    SYS_SETSOCKOPT,
    SYS_SOCKET,
    SockaddrIn,
    bind,
    recvfrom,
    sendto,
    set_receive_timeout,
    socketcall,
    swap_bytes,
    udp_socket,
)

EBADF: Final = 9
EAGAIN: Final = 11
EFAULT: Final = 14
EINVAL: Final = 22
ENOTSOCK: Final = 88
EDESTADDRREQ: Final = 89
EMSGSIZE: Final = 90
ENOPROTOOPT: Final = 92
EPROTONOSUPPORT: Final = 93
EAFNOSUPPORT: Final = 97
EADDRINUSE: Final = 98
EADDRNOTAVAIL: Final = 99
SOCK_STREAM: Final = 1
SHUTDOWN: Final = 13
STATION: Final = 0x0202000A
KERNEL_ADDRESS: Final = 0xC0100000

failures: u32 = 0
big: array[u32] = length(512)


@guest
def expect(what: cstr, result: i32, wanted: i32) -> None:
    """Count and tell what is otherwise."""
    global failures
    if result != wanted:
        failures += 1
        puts("sockets: ")
        puts(what)
        puts(" gave ")
        put_number(result)
        puts("\n")


@guest
def main(argc: u32, argv: ptr[cstr]) -> i32:
    """The program."""
    data: ptr[void] = cast(ptr[void], big)
    expect("family", socketcall(SYS_SOCKET, 1, SOCK_DGRAM, 0, 0, 0, 0), -EAFNOSUPPORT)
    expect("stream", socketcall(SYS_SOCKET, AF_INET, SOCK_STREAM, 0, 0, 0, 0), -EPROTONOSUPPORT)
    expect("shutdown", socketcall(SHUTDOWN, 0, 0, 0, 0, 0, 0), -EINVAL)
    echo: SockaddrIn = SockaddrIn(sin_family=AF_INET, sin_addr=STATION)
    echo.sin_port = swap_bytes(7)
    expect("no file", sendto(50, data, 4, addr(echo)), -EBADF)
    expect("the console", sendto(1, data, 4, addr(echo)), -ENOTSOCK)
    first = u32(udp_socket())
    second = u32(udp_socket())
    here: SockaddrIn = SockaddrIn(sin_family=AF_INET)
    here.sin_port = swap_bytes(2000)
    expect("bind", bind(first, addr(here)), 0)
    expect("bind again", bind(first, addr(here)), -EINVAL)
    expect("taken port", bind(second, addr(here)), -EADDRINUSE)
    here.sin_addr = STATION
    expect("not our address", bind(second, addr(here)), -EADDRNOTAVAIL)
    here.sin_family = 1
    expect("bind to a family", bind(second, addr(here)), -EAFNOSUPPORT)
    expect("short address", socketcall(SYS_BIND, second, u32(addr(here)), 8, 0, 0, 0), -EINVAL)
    expect("long datagram", sendto(first, data, 1473, addr(echo)), -EMSGSIZE)
    expect("bad data", sendto(first, cast(ptr[void], KERNEL_ADDRESS), 4, addr(echo)), -EFAULT)
    expect("bad address", socketcall(SYS_SENDTO, first, u32(data), 4, 0, KERNEL_ADDRESS, 16), -EFAULT)
    echo.sin_port = 0
    expect("port 0", sendto(first, data, 4, addr(echo)), -EDESTADDRREQ)
    expect("option", socketcall(SYS_SETSOCKOPT, first, 1, 4, u32(data), 8, 0), -ENOPROTOOPT)
    expect("read", read(first, data, 4), -EINVAL)
    set_receive_timeout(first, 1)
    echo.sin_port = swap_bytes(8)
    expect("nobody there", sendto(first, data, 4, addr(echo)), 4)
    expect("no answer", recvfrom(first, data, 4, addr(here)), -EAGAIN)
    echo.sin_port = swap_bytes(7)
    big[0] = 0x11223344
    expect("send", sendto(second, data, 1472, addr(echo)), 1472)
    expect("send nothing", sendto(second, data, 0, addr(echo)), 0)
    expect("close", close(first), 0)
    big[0] = 0
    expect("cut off", recvfrom(second, data, 3, addr(here)), 3)
    expect("content", i32(big[0]), 0x223344)
    expect("from", i32(here.sin_addr), STATION)
    expect("port", i32(swap_bytes(here.sin_port)), 7)
    expect("nothing", recvfrom(second, data, 4, addr(here)), 0)
    puts("sockets: ")
    put_number(i32(failures))
    puts(" failures\n")
    return 0
