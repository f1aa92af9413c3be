# SPDX-License-Identifier: GPL-2.0-or-later
"""A flight recorder: the basic blocks a CPU ran last.

One more block hook, which comes after the one that counts (`native.LISTINGS`, "block") and records what that let pass.
"""

from __future__ import annotations

import ctypes
from typing import Final

from unicorn.unicorn_const import UC_HOOK_BLOCK

from . import native

# void record(uc %rdi, address %rsi, size %edx, Ring *%rcx)
LISTING: Final = """
    movq (%rcx), %rax
    cmpl $0, 24(%rax)
    jne out
    movl 8(%rcx), %eax
    movl %eax, %r8d
    incl %eax
    movl %eax, 8(%rcx)
    andl 12(%rcx), %r8d
    movl %esi, 16(%rcx,%r8,8)
    movl %edx, 20(%rcx,%r8,8)
out:
    ret
"""
CODE: Final = "488b018378180075198b41084189c0ffc08941084423410c428974c110428954c114c3"


class _Head(ctypes.Structure):
    _fields_ = (
        ("shared", ctypes.c_void_p),  # 0: the CPU's `Slice`, whose `reason` is set once a block is not to be run
        ("next", ctypes.c_uint32),  # 8: blocks recorded so far, modulo 2^32
        ("mask", ctypes.c_uint32),  # 12: places less one; they follow: u32 linear address, u32 size
    )
    shared: int
    next: int
    mask: int


class BlockRecorder:
    """The last `count` blocks of one engine."""

    def __init__(self, uc: ctypes.c_void_p, shared: native.Slice, count: int) -> None:
        places = 1 << max(count - 1, 0).bit_length()
        self._count = count
        self._memory = ctypes.create_string_buffer(ctypes.sizeof(_Head) + 8 * places)
        self._head = head = _Head.from_buffer(self._memory)
        head.shared, head.mask = ctypes.addressof(shared), places - 1
        self._places = (ctypes.c_uint32 * (2 * places)).from_buffer(self._memory, ctypes.sizeof(_Head))
        if native.hooks().compiled:
            self._keep: object
            self._keep, addresses = native.executable({"record": bytes.fromhex(CODE)})
            hook = addresses["record"]
        else:
            kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)
            self._keep, hook = native.callback(kind, lambda _uc, address, size, _ring: self._record(address, size))
        self._shared = shared
        native.hook_add(uc, UC_HOOK_BLOCK, hook, ctypes.addressof(self._memory))

    def _record(self, address: int, size: int) -> None:
        if self._shared.reason == native.REASON_NONE:
            at = self._head.next & self._head.mask
            self._places[2 * at], self._places[2 * at + 1] = address, size
            self._head.next += 1

    def blocks(self) -> list[tuple[int, int]]:
        """(linear address, bytes), oldest first.  A block that faulted is there whole."""
        mask, end = self._head.mask, self._head.next
        ring = [(self._places[2 * (i & mask)], self._places[2 * (i & mask) + 1]) for i in range(end, end + mask + 1)]
        return [block for block in ring if block[1]][-self._count :]
