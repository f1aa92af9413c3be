# SPDX-License-Identifier: GPL-2.0-or-later
"""Types everybody shares: links of lists and of RCU callbacks, error numbers (include/asm-generic/errno-base.h)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, fn, ptr

BITS_PER_LONG: Final = 32


class ListHead(Struct):
    """A link of a circular doubly linked list; the operations are in list.py."""

    next: ptr[ListHead]
    prev: ptr[ListHead]


class HlistNode(Struct):
    """A link of a list with a head of one word; `pprev` is the pointer that points here."""

    next: ptr[HlistNode]
    pprev: ptr[ptr[HlistNode]]


class HlistHead(Struct):
    """Head of such a list: one slot of a hash table."""

    first: ptr[HlistNode]


class RcuHead(Struct):
    """What an object needs to be handed to call_rcu(); the operations are in rcupdate.py."""

    next: ptr[RcuHead]
    func: fn[[ptr[RcuHead]], None]


EPERM: Final = 1
ENOENT: Final = 2
ESRCH: Final = 3
EINTR: Final = 4
EIO: Final = 5
ENXIO: Final = 6
E2BIG: Final = 7
ENOEXEC: Final = 8
EBADF: Final = 9
ECHILD: Final = 10
EAGAIN: Final = 11
ENOMEM: Final = 12
EACCES: Final = 13
EFAULT: Final = 14
EBUSY: Final = 16
EEXIST: Final = 17
ENODEV: Final = 19
ENOTDIR: Final = 20
EISDIR: Final = 21
EINVAL: Final = 22
ENFILE: Final = 23
EMFILE: Final = 24
EFBIG: Final = 27
ENOSPC: Final = 28
ESPIPE: Final = 29
EROFS: Final = 30
ENAMETOOLONG: Final = 36
ENOSYS: Final = 38
ENOTSOCK: Final = 88
EDESTADDRREQ: Final = 89
EMSGSIZE: Final = 90
ENOPROTOOPT: Final = 92
EPROTONOSUPPORT: Final = 93
EAFNOSUPPORT: Final = 97
EADDRINUSE: Final = 98
EADDRNOTAVAIL: Final = 99
ENETUNREACH: Final = 101
ENOBUFS: Final = 105
ETIMEDOUT: Final = 110

SIGILL: Final = 4
SIGTRAP: Final = 5
SIGBUS: Final = 7
SIGFPE: Final = 8
SIGKILL: Final = 9
SIGSEGV: Final = 11
SIGCHLD: Final = 17
SIGALRM: Final = 14
