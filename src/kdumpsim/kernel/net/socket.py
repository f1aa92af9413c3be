# SPDX-License-Identifier: GPL-2.0-or-later
"""Sockets by system call (net/socket.c): socketcall() with what a UDP program needs.

socket(AF_INET, SOCK_DGRAM, 0 or UDP), bind, sendto, recvfrom, setsockopt(SO_RCVTIMEO); close() closes. Addresses are
sockaddr_in.  Other calls give -EINVAL, as 2.6.16's unknown ones do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    addr,
    array,
    cast,
    guest,
    i32,
    length,
    placed,
    ptr,
    sizeof,
    u8,
    u16,
    u32,
    usize,
)
from kdumpsim.kernel.architecture import copy_from_user, copy_to_user, current
from kdumpsim.kernel.core.config import HZ
from kdumpsim.kernel.core.syscalls import NR_socketcall, Syscall
from kdumpsim.kernel.core.timer import MAX_SCHEDULE_TIMEOUT
from kdumpsim.kernel.core.types import (
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    EBADF,
    EFAULT,
    EINVAL,
    ENOMEM,
    ENOPROTOOPT,
    ENOTSOCK,
    EPROTONOSUPPORT,
)
from kdumpsim.kernel.fs.dcache import d_alloc_anon
from kdumpsim.kernel.fs.file_types import O_RDWR, S_IFSOCK, File, FileOperations
from kdumpsim.kernel.fs.files import fd_install, fget, get_empty_filp, get_unused_fd, put_unused_fd
from kdumpsim.kernel.mm.slab import kfree
from kdumpsim.kernel.net.byteorder import htons
from kdumpsim.kernel.net.devinet import inet_select_addr
from kdumpsim.kernel.net.ip import ip_route_output
from kdumpsim.kernel.net.udp import IPPROTO_UDP, Sock, udp_create, udp_destroy, udp_get_port, udp_recvmsg, udp_sendmsg

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs

SYS_SOCKET: Final = 1
SYS_BIND: Final = 2
SYS_SENDTO: Final = 11
SYS_RECVFROM: Final = 12
SYS_SETSOCKOPT: Final = 14
MAX_ARGUMENTS: Final = 6

AF_INET: Final = 2
SOCK_DGRAM: Final = 2
SOL_SOCKET: Final = 1
SO_RCVTIMEO: Final = 20
MAX_SECONDS: Final = MAX_SCHEDULE_TIMEOUT // HZ - 1
USEC_PER_SEC: Final = 1_000_000


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
def sock_release(file: ptr[File]) -> None:
    """The last close."""
    udp_destroy(cast(ptr[Sock], file.private_data))


socket_file_ops: FileOperations = FileOperations(release=sock_release)


@guest
def sockfd_lookup(fd: u32, error: ptr[i32]) -> ptr[Sock]:
    """The socket of a descriptor, or NULL and why."""
    file: ptr[File] = fget(fd)
    if file == NULL:
        error[0] = -EBADF
        return NULL
    if file.f_op != socket_file_ops:
        error[0] = -ENOTSOCK
        return NULL
    return cast(ptr[Sock], file.private_data)


@guest
def sys_socket(family: u32, kind: u32, protocol: u32) -> i32:
    """socket(): a descriptor."""
    if family != AF_INET:
        return -EAFNOSUPPORT
    if kind != SOCK_DGRAM or (protocol != 0 and protocol != IPPROTO_UDP):
        return -EPROTONOSUPPORT
    fd = get_unused_fd()
    if fd < 0:
        return fd
    sk = udp_create()
    file: ptr[File] = NULL
    if sk != NULL:
        file = get_empty_filp(d_alloc_anon("socket:", 7), O_RDWR)
    if file == NULL:
        kfree(sk)
        put_unused_fd(u32(fd))
        return -ENOMEM
    file.f_dentry.d_inode.i_mode = S_IFSOCK | 0o777
    file.f_dentry.d_inode.i_fop = socket_file_ops
    file.f_op = socket_file_ops
    file.private_data = sk
    fd_install(current().files, u32(fd), file)
    return fd


@guest
def move_addr(user: usize, size: usize, address: ptr[SockaddrIn]) -> i32:
    """Fetch an address from the caller."""
    if size < sizeof(SockaddrIn):
        return -EINVAL
    if copy_from_user(address, user, sizeof(SockaddrIn)) != 0:
        return -EFAULT
    return 0 if address.sin_family == AF_INET else -EAFNOSUPPORT


@guest
def sys_bind(sk: ptr[Sock], user: usize, size: usize) -> i32:
    """bind(): to the interface's address or any, once."""
    address: SockaddrIn = SockaddrIn()
    error = move_addr(user, size, address)
    if error != 0:
        return error
    dev = ip_route_output()
    if address.sin_addr != 0 and (dev == NULL or address.sin_addr != inet_select_addr(dev)):
        return -EADDRNOTAVAIL
    return -EINVAL if sk.port != 0 else udp_get_port(sk, htons(address.sin_port))


@guest
def sys_sendto(sk: ptr[Sock], a: ptr[u32]) -> i32:
    """sendto(fd, data, count, flags, address, size)"""
    address: SockaddrIn = SockaddrIn()
    error = move_addr(a[4], a[5], address)
    return error if error != 0 else udp_sendmsg(sk, a[1], a[2], address.sin_addr, htons(address.sin_port))


@guest
def sys_recvfrom(sk: ptr[Sock], a: ptr[u32]) -> i32:
    """recvfrom(fd, data, count, flags, address, size): the address may be NULL."""
    address: SockaddrIn = SockaddrIn(sin_family=AF_INET)
    port: u16 = 0
    n = udp_recvmsg(sk, a[1], a[2], addr(address.sin_addr), addr(port))
    if n < 0 or a[4] == 0:
        return n
    address.sin_port = htons(port)
    size: usize = 0
    if copy_from_user(addr(size), a[5], 4) != 0:
        return -EFAULT
    if copy_to_user(a[4], address, min(size, sizeof(SockaddrIn))) != 0:
        return -EFAULT
    size = sizeof(SockaddrIn)
    return -EFAULT if copy_to_user(a[5], addr(size), 4) != 0 else n


@guest
def sys_setsockopt(sk: ptr[Sock], a: ptr[u32]) -> i32:
    """setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeval, size): no time is no limit."""
    time: Timeval = Timeval()
    if a[1] != SOL_SOCKET or a[2] != SO_RCVTIMEO:
        return -ENOPROTOOPT
    if a[4] < sizeof(Timeval):
        return -EINVAL
    if copy_from_user(time, a[3], sizeof(Timeval)) != 0:
        return -EFAULT
    if time.tv_usec >= USEC_PER_SEC:
        return -EINVAL
    sk.rcvtimeo = MAX_SCHEDULE_TIMEOUT
    if time.tv_sec < MAX_SECONDS and (time.tv_sec != 0 or time.tv_usec != 0):
        tick: u32 = USEC_PER_SEC // HZ
        sk.rcvtimeo = time.tv_sec * HZ + (time.tv_usec + tick - 1) // tick
    return 0


@guest
def sys_socketcall(regs: ptr[PtRegs]) -> i32:
    """socketcall(call, arguments)"""
    a: array[u32] = length(MAX_ARGUMENTS)
    call = regs.ebx
    count: usize = 0
    if call == SYS_SOCKET or call == SYS_BIND:
        count = 3
    elif call == SYS_SETSOCKOPT:
        count = 5
    elif call == SYS_SENDTO or call == SYS_RECVFROM:
        count = 6
    else:
        return -EINVAL
    if copy_from_user(a, regs.ecx, 4 * count) != 0:
        return -EFAULT
    if call == SYS_SOCKET:
        return sys_socket(a[0], a[1], a[2])
    error: i32 = 0
    sk = sockfd_lookup(a[0], addr(error))
    if sk == NULL:
        return error
    if call == SYS_BIND:
        return sys_bind(sk, a[1], a[2])
    if call == SYS_SENDTO:
        return sys_sendto(sk, a)
    if call == SYS_RECVFROM:
        return sys_recvfrom(sk, a)
    return sys_setsockopt(sk, a)


_syscall_socketcall: Syscall = placed("syscalls", Syscall(nr=NR_socketcall, call=sys_socketcall))
