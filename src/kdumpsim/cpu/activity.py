# SPDX-License-Identifier: GPL-2.0-or-later
"""What a CPU does from some moment on, until INIT or RESET: how much code it runs, and which pages it stores to.

A store hook of the engine's, which gets physical addresses, and the stores of event delivery and task switches, which
are made here on the CPU's behalf. Not seen: the accessed and dirty bits that the walk of page tables sets, and of a
store that lies across two pages the second page.
"""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import dataclass
from typing import Final

from unicorn.unicorn_const import UC_HOOK_MEM_WRITE

from . import native
from .bus import PAGE
from .physical import PhysicalMemory, noted

PAGES: Final = 1 << 20

# void stored(uc %rdi, type %esi, physical address %rdx, size %ecx, value %r8, a byte for each page %r9)
LISTING: Final = """
    shrq $12, %rdx
    movb $1, (%r9,%rdx)
    ret
"""
CODE: Final = "48c1ea0c41c6041101c3"


@dataclass(frozen=True)
class Activity:
    """What a CPU has done."""

    code_bytes: int
    """Code it ran, with `EVENT_BYTES` for every event."""
    pages: tuple[int, ...]
    """Addresses of the physical pages it stored to, in order; of devices, too."""


class ActivityRecorder:
    """Watches one engine from now on. The engine has to translate anew."""

    def __init__(self, uc: ctypes.c_void_p, shared: native.Slice, memory: PhysicalMemory) -> None:
        self._uc, self._shared, self._memory = uc, shared, memory
        self._begin = shared.retired
        self._end: int | None = None
        self._pages = mmap.mmap(-1, PAGES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.written = self._written
        if native.hooks().compiled:
            self._keep: object
            self._keep, addresses = native.executable({"stored": bytes.fromhex(CODE)})
            hook = addresses["stored"]
        else:
            void, u64, i32 = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int
            kind = ctypes.CFUNCTYPE(None, void, i32, u64, i32, ctypes.c_int64, void)
            self._keep, hook = native.callback(
                kind, lambda _uc, _type, address, _size, _value, _pages: self._written(address, 1)
            )
        table = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        self._hook = native.hook_add(uc, UC_HOOK_MEM_WRITE, hook, table)

    def _written(self, address: int, size: int) -> None:
        for page in range(address // PAGE, (address + size - 1) // PAGE + 1):
            self._pages[page] = 1

    def stop(self) -> None:
        """Take nothing more down."""
        if self._end is None:
            self._end = self._shared.retired
            self._memory.written = None
            native.hook_del(self._uc, self._hook)

    def activity(self) -> Activity:
        """What there was so far."""
        end = self._shared.retired if self._end is None else self._end
        return Activity(end - self._begin, tuple(noted(self._pages)))
