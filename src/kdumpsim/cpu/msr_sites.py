# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the guest has RDMSR, WRMSR and RDPMC: instructions the engine answers on its own, with no hook for them.

Every block the engine translates is searched for their opcodes. A block that may hold one is thrown away before it has
run and translated again, now with a hook at that address that stops the slice in front of the instruction, if it is
about a register that is answered here; the others stay the engine's. Bytes that only look like an opcode, inside of
another instruction, cost nothing: no instruction begins there.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

from unicorn.unicorn_const import UC_HOOK_CODE, UC_HOOK_EDGE_GENERATED, UC_PROT_EXEC

from . import native
from .native import REG_ECX, lib
from .perfctr import MSRS as COUNTERS

WRMSR, RDMSR, RDPMC = 0x30, 0x32, 0x33  # the second byte; the first is 0F
TSC, APIC_BASE = 0x10, 0x1B
OPCODES: Final = (WRMSR, RDMSR, RDPMC)
PREFIXES: Final = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf2\xf3")  # that change nothing here; LOCK is #UD


class _Block(ctypes.Structure):
    """The engine's `uc_tb`."""

    _fields_ = (("address", ctypes.c_uint64), ("instructions", ctypes.c_uint16), ("size", ctypes.c_uint16))
    address: int
    size: int


_SUSPECT: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32)
_TRANSLATED: Final = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.POINTER(_Block), ctypes.POINTER(_Block), ctypes.c_void_p
)
_CODE: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)


def _ours(opcode: int, number: int) -> bool:
    """Is it for `msr.py` to answer?"""
    return opcode == RDPMC or number in COUNTERS or number == APIC_BASE or (number == TSC and opcode == RDMSR)


class MsrSites:
    """The hooks of one engine.

    `retranslate(begin, size)`: called from inside the engine with a block's linear address; it has to end the slice
    before that block runs, and have it translated anew.
    """

    def __init__(self, uc: ctypes.c_void_p, shared: native.Slice, retranslate: Callable[[int, int], None]) -> None:
        self._uc = uc
        self._slice = shared
        self._retranslate = retranslate
        self._sites: dict[int, int] = {}
        """Linear address of an opcode: the handle of its hook."""
        on_code, self._on_code = native.callback(_CODE, self._reached)
        hooks = native.hooks()
        if hooks.compiled:
            keep, shared.suspect = native.callback(_SUSPECT, lambda _uc, address, size: self._suspect(address, size))
            function = hooks.addresses["translated"]
        else:
            keep, function = native.callback(
                _TRANSLATED, lambda _uc, block, _previous, _data: self._suspect(block[0].address, block[0].size)
            )
        self._keep = (on_code, keep)
        native.hook_add(uc, UC_HOOK_EDGE_GENERATED, function, ctypes.addressof(shared))

    def _suspect(self, address: int, size: int) -> None:
        """A block has been translated: hook what in it may be one of the three."""
        buffer = ctypes.create_string_buffer(size)
        read = lib.uc_vmem_read(self._uc, ctypes.c_uint64(address), UC_PROT_EXEC, buffer, ctypes.c_size_t(size))
        if read:
            return  # code out of MMIO
        code, new = buffer.raw, False
        for opcode in OPCODES:
            at = code.find(bytes((0x0F, opcode)))
            while at >= 0:
                if address + at not in self._sites:
                    first = at
                    while first and code[first - 1] in PREFIXES:
                        first -= 1
                    self._sites[address + at] = native.hook_add(
                        self._uc, UC_HOOK_CODE, self._on_code, opcode, address + first, address + at
                    )
                    new = True
                at = code.find(bytes((0x0F, opcode)), at + 1)
        if new:
            self._retranslate(address, size)

    def _reached(self, _uc: int, _address: int, _size: int, opcode: int) -> None:
        if self._slice.reason == native.REASON_NONE and _ours(opcode, native.reg_read(self._uc, REG_ECX)):
            self._slice.reason = native.REASON_MSR
            lib.uc_emu_stop(self._uc)

    def forget(self, begin: int, end: int) -> None:
        """Remove the hooks of these linear addresses; between slices. The code there has to be translated anew."""
        for address in [address for address in self._sites if begin <= address < end]:
            native.hook_del(self._uc, self._sites.pop(address))
