# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the guest has instructions that the engine answers wrongly, too late or not at all.

Every block the engine translates is searched for them. A block that may hold one is thrown away before it has run and
translated again, now with a hook at that address:

* RDMSR, WRMSR and RDPMC of a register that is kept here, SYSENTER, SYSCALL, and SMSW into a register: the slice stops
  before the instruction, and `instructions.py` carries it out;
* CMPXCHG8B, far JMP and far CALL: the engine's helper for these looks for the arithmetic flags where the code around it
  need not have put them yet. The hook `split` makes the instruction the first of a block, where they are in place;
* MOV to a control register and INVLPG: a hook empties the CPU's TLB (`softtlb.py`);
* IRET: the hook `iret` sees to RF, to an NMI that waits, and to the flags of a nested task.

Bytes that only look like an opcode, inside of another instruction, cost little or nothing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final

from unicorn.unicorn_const import UC_HOOK_CODE, UC_HOOK_EDGE_GENERATED, UC_PROT_EXEC

from . import native
from .bus import PAGE
from .machinecheck import MSRS as MACHINE_CHECK
from .native import REG_ECX, lib
from .perfctr import MSRS as COUNTERS

SMSW = INVLPG = 0x01
SYSCALL, MOV_CR, WRMSR, RDMSR, RDPMC, SYSENTER, CMPXCHG8B = 0x05, 0x22, 0x30, 0x32, 0x33, 0x34, 0xC7
"""The second byte; the first is 0F."""
FAR_CALL, IRET, FAR_JMP, INDIRECT = 0x9A, 0xCF, 0xEA, 0xFF
TSC, APIC_BASE, EFER = 0x10, 0x1B, 0xC0000080
KEPT: Final = COUNTERS | MACHINE_CHECK | {APIC_BASE, EFER}
"""Registers that the engine lacks."""
MSR_OPCODES: Final = (WRMSR, RDMSR, RDPMC)
SYSTEM_CALLS: Final = (SYSCALL, SYSENTER)
PREFIXES: Final = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf2\xf3")  # LOCK is #UD with most of them
LOCK: Final = 0xF0


class Kind(Enum):
    """What the hook of a site does."""

    STOP = "stop"
    SPLIT = "split"
    IRET = "iret"
    EMPTY = "empty"


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


def smsw_register(modrm: int) -> bool:
    """0F 01 /4 with a register for its operand?"""
    return modrm & 0xF8 == 0xE0


def empties(opcode: int, modrm: int) -> bool:
    """0F 22, or 0F 01 /7 with an operand in memory?"""
    return opcode == MOV_CR or (opcode == INVLPG and modrm >> 3 & 7 == 7 and modrm < 0xC0)


def candidates(code: bytes) -> Iterator[tuple[int, Kind, int]]:
    """(offset of the opcode, what to do, second byte of the opcode) of all in a block that may be one of them."""
    at = code.find(0x0F)
    while 0 <= at < len(code) - 1:
        opcode, modrm = code[at + 1], code[at + 2] if at + 2 < len(code) else 0
        if opcode in MSR_OPCODES or opcode in SYSTEM_CALLS or (opcode == SMSW and smsw_register(modrm)):
            yield at, Kind.STOP, opcode
        elif opcode == CMPXCHG8B and modrm >> 3 & 7 == 1 and modrm < 0xC0:
            yield at, Kind.SPLIT, opcode
        elif empties(opcode, modrm):
            yield at, Kind.EMPTY, opcode
        at = code.find(0x0F, at + 1)
    if code[-1] == IRET:
        yield len(code) - 1, Kind.IRET, 0
    for at in range(max(len(code) - 8, 0), len(code) - 1):
        far = code[at] in (FAR_CALL, FAR_JMP) and len(code) - at in (5, 7)
        if far or (code[at] == INDIRECT and code[at + 1] >> 3 & 7 in (3, 5) and code[at + 1] < 0xC0):
            yield at, Kind.SPLIT, 0


def _ours(opcode: int, number: int) -> bool:
    """Is it for `instructions.py` to carry out?"""
    if opcode not in MSR_OPCODES or opcode == RDPMC:
        return True
    return number in KEPT or (number == TSC and opcode == RDMSR)


class _Site(ctypes.Structure):
    """What the hook "site" wants to know."""

    _fields_ = (
        ("slice", ctypes.c_void_p),
        ("hook", ctypes.c_void_p),
        ("instruction", ctypes.c_uint64),  # its first bytes
        ("mask", ctypes.c_uint64),  # which of their bits matter
    )


_BYTES: Final = 8
"""Of an instruction, that are compared."""


def pattern(code: bytes, at: int, kind: Kind) -> tuple[int, int]:
    """The bytes up to an opcode and what belongs to it, and which of their bits make it what it is."""
    opcode = at + 1 if code[at] == 0x0F else at
    mask = b"\xff" * (opcode + 1)
    if code[opcode] in (SMSW, INDIRECT, CMPXCHG8B):
        mask += b"\xf8" if kind is Kind.STOP else b"\x38"
    mask = mask[:_BYTES]
    return int.from_bytes(code[: len(mask)], "little"), int.from_bytes(mask, "little")


class Sites:
    """The hooks of one engine.

    `retranslate(begin, size)`: called from inside the engine with a block's linear address; it has to end the slice
    before that block runs, and have it translated anew.  `empty`: the address of the hook that empties the TLB; None
    where there is none, since the TLB is the engine's.  `remove`: takes the handle of one to be removed.

    A hook does nothing where other code has come in the place of what it was made for, so that what a block does
    depends on its bytes alone, and not on what else has been translated.
    """

    def __init__(
        self,
        uc: ctypes.c_void_p,
        shared: native.Slice,
        retranslate: Callable[[int, int], None],
        remove: Callable[[int], None],
        empty: int | None,
    ) -> None:
        self._uc = uc
        self._slice = shared
        self._retranslate = retranslate
        self._remove = remove
        self._sites: dict[tuple[int, int, int], tuple[int, _Site]] = {}
        """Linear address, bytes and mask of an instruction: the handle of its hook, and what that is given."""
        self._splits: dict[int, list[tuple[int, int]]] = {}
        """Linear address of instructions that begin a block: their bytes and masks."""
        hooks = native.hooks()
        self._compiled = hooks.compiled
        self._site = hooks.addresses.get("site", 0)
        self._native = {Kind.SPLIT: hooks.addresses["split"], Kind.IRET: hooks.addresses["iret"]}
        if empty is not None:
            self._native[Kind.EMPTY] = empty
        self._stops: dict[int, int] = {}
        """Opcode: the callback that stops before it."""
        self._keep: list[object] = []
        if hooks.compiled:
            keep, shared.suspect = native.callback(_SUSPECT, lambda _uc, address, size: self._suspect(address, size))
            function = hooks.addresses["translated"]
        else:
            keep, function = native.callback(
                _TRANSLATED, lambda _uc, block, _previous, _data: self._suspect(block[0].address, block[0].size)
            )
        self._keep.append(keep)
        native.hook_add(uc, UC_HOOK_EDGE_GENERATED, function, ctypes.addressof(shared))

    def _suspect(self, address: int, size: int) -> None:
        """A block has been translated: hook what in it may be one of them."""
        code, new = self._read(address, size), False
        for at, kind, opcode in candidates(code) if code else ():
            if kind is Kind.EMPTY and kind not in self._native:
                continue
            first = at
            while first and (code[first - 1] in PREFIXES or (code[first - 1] == LOCK and kind is Kind.SPLIT)):
                first -= 1
            function = self._stop(opcode) if kind is Kind.STOP else self._native[kind]
            for start in range(first, at + 1):
                instruction, mask = pattern(code[start : at + 3], at - start, kind)
                if (address + start, instruction & mask, mask) not in self._sites:
                    self._hook(address + start, instruction & mask, mask, function)
                    if kind is Kind.SPLIT:
                        self._splits.setdefault(address + start, []).append((instruction & mask, mask))
                    new = True
        if new:
            self._retranslate(address, size)

    def _read(self, address: int, size: int) -> bytes:
        """Code, as the engine fetches it; nothing if that is from MMIO."""
        buffer = ctypes.create_string_buffer(size)
        if lib.uc_vmem_read(self._uc, ctypes.c_uint64(address), UC_PROT_EXEC, buffer, ctypes.c_size_t(size)):
            return b""
        return buffer.raw

    def _hook(self, address: int, instruction: int, mask: int, function: int) -> None:
        site = _Site(ctypes.addressof(self._slice), function, instruction, mask)
        data = ctypes.addressof(self._slice)
        if self._compiled:
            function, data = self._site, ctypes.addressof(site)
        handle = native.hook_add(self._uc, UC_HOOK_CODE, function, data, address, address)
        self._sites[address, instruction, mask] = handle, site

    def _stop(self, opcode: int) -> int:
        if opcode not in self._stops:
            keep, self._stops[opcode] = native.callback(_CODE, lambda _uc, _at, _size, _data: self._reached(opcode))
            self._keep.append(keep)
        return self._stops[opcode]

    def _reached(self, opcode: int) -> None:
        self._slice.hooked = self._slice.retired
        if self._slice.reason == native.REASON_NONE and _ours(opcode, native.reg_read(self._uc, REG_ECX)):
            self._slice.reason = native.REASON_SITE
            lib.uc_emu_stop(self._uc)

    def splits(self, address: int) -> bool:
        """Does the instruction at a linear address begin a block of its own?  From within a hook there."""
        known = self._splits.get(address)
        if known is None:
            return False
        code = int.from_bytes(self._read(address, min(_BYTES, PAGE - address % PAGE)), "little")
        return any(not (code ^ instruction) & mask for instruction, mask in known)

    def forget(self, begin: int, end: int) -> None:
        """Remove the hooks of these linear addresses; between slices. The code there has to be translated anew."""
        for site in [site for site in self._sites if begin <= site[0] < end]:
            handle, kept = self._sites.pop(site)
            self._remove(handle)
            self._keep.append(kept)  # a block that another mapping had there may still know it
            self._splits.pop(site[0], None)
