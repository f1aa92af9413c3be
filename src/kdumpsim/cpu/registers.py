# SPDX-License-Identifier: GPL-2.0-or-later
"""The registers of a processor by their names: read at any time, changed between slices."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from unicorn import x86_const

from . import descriptors as x86
from . import native
from .delivery import Delivery
from .descriptors import Fault
from .engine import Engine
from .layout import (
    BASE,
    CR0,
    CR2,
    CR3,
    CR4,
    CS,
    DS,
    EAX,
    EBP,
    EBX,
    ECX,
    EDI,
    EDX,
    EFLAGS,
    EIP,
    ES,
    ESI,
    ESP,
    FS,
    GDTR,
    GS,
    HF_CPL,
    HFLAGS,
    IDTR,
    LDTR,
    LIMIT,
    SELECTOR,
    SS,
    TR,
)

_GENERAL: Final = {"eax": EAX, "ebx": EBX, "ecx": ECX, "edx": EDX, "esi": ESI, "edi": EDI, "ebp": EBP, "esp": ESP}
_PLAIN: Final = {**_GENERAL, "eip": EIP, "eflags": EFLAGS, "cr2": CR2}
_SEGMENTS: Final = {"cs": CS, "ss": SS, "ds": DS, "es": ES, "fs": FS, "gs": GS}
_TABLES: Final = {"gdtr": GDTR, "idtr": IDTR}
HF_CR0: Final = 0b1110 << 8  # CR0's MP, EM and TS bits (1-3) stand in hflags bits 9-11


@dataclass
class Registers:
    """The registers a dump records."""

    eax: int
    ebx: int
    ecx: int
    edx: int
    esi: int
    edi: int
    ebp: int
    esp: int
    eip: int
    eflags: int
    cs: int
    ss: int
    ds: int
    es: int
    fs: int
    gs: int
    cr0: int
    cr2: int
    cr3: int
    cr4: int


@dataclass(frozen=True)
class X87:
    """The floating-point unit (SDM vol. 1, 8.1)."""

    stack: tuple[bytes, ...]
    """ST(0) to ST(7), 10 bytes each."""
    control: int
    status: int
    tag: int


def read_x87(engine: Engine) -> X87:
    """The floating-point unit now, also from a callback."""
    if engine.dirty and not engine.running:
        engine.restore()
    cell = ctypes.create_string_buffer(16)

    def read(register: int, size: int) -> bytes:
        native.check(native.lib.uc_reg_read(engine.uc, register, cell))
        return cell.raw[:size]

    control, status, tag = (
        int.from_bytes(read(register, 2), "little")
        for register in (x86_const.UC_X86_REG_FPCW, x86_const.UC_X86_REG_FPSW, x86_const.UC_X86_REG_FPTAG)
    )
    return X87(tuple(read(x86_const.UC_X86_REG_ST0 + slot, 10) for slot in range(8)), control, status, tag)


def read_registers(engine: Engine) -> Registers:
    """The registers now, also from a callback."""
    context = engine.live()
    q, d = context.q, context.d
    values = {name: q[slot] & 0xFFFFFFFF for name, slot in _PLAIN.items()}
    values |= {name: d[SELECTOR[segment]] for name, segment in _SEGMENTS.items()}
    values |= {"cr0": q[CR0], "cr3": q[CR3], "cr4": q[CR4]}
    if engine.running:
        values["eflags"] = native.reg_read(engine.uc, native.REG_EFLAGS)
    return Registers(**values)


def read_tables(engine: Engine) -> dict[str, tuple[int, int, int]]:
    """GDTR, IDTR, LDTR and TR as (selector, base, limit)."""
    context = engine.live()
    slots = {**_TABLES, "ldtr": LDTR, "tr": TR}
    return {name: (context.d[SELECTOR[s]], context.q[BASE[s]], context.d[LIMIT[s]]) for name, s in slots.items()}


def change_registers(engine: Engine, delivery: Delivery, values: Mapping[str, int | tuple[int, int]]) -> None:
    """Set registers by name (`Cpu.set_registers`).  TypeError for a name there is not, or a value of the wrong kind."""
    if engine.running:
        raise RuntimeError("registers can only be set between slices")
    q, d = engine.context.q, engine.context.d
    cpl = d[HFLAGS] & HF_CPL
    pending = dict(values)
    for name, segment in _TABLES.items():
        table = pending.pop(name, None)
        if isinstance(table, tuple):
            delivery.set_segment(segment, 0, table[0], table[1], 0)
    numbers: dict[str, int] = {}
    for name, value in pending.items():
        if not isinstance(value, int):
            raise TypeError(f"{name} is one number")
        numbers[name] = value & 0xFFFFFFFF
    for name, slot in (("cr0", CR0), ("cr3", CR3), ("cr4", CR4)):
        if name in numbers:
            q[slot] = numbers.pop(name)
            engine.empty_tlb()
    d[HFLAGS] = d[HFLAGS] & ~HF_CR0 | q[CR0] << 8 & HF_CR0
    delivery.sync()
    for name, segment in _SEGMENTS.items():
        if name in numbers:
            cpl = _load_segment(engine, delivery, segment, numbers.pop(name), cpl)
    for name, slot in _PLAIN.items():
        if name in numbers:
            q[slot] = numbers.pop(name)
    if numbers:
        raise TypeError(f"no such registers: {', '.join(sorted(numbers))}")
    q[EFLAGS] |= x86.EFLAGS_FIXED
    delivery.refresh_hflags(cpl)
    engine.dirty = True


def _load_segment(engine: Engine, delivery: Delivery, segment: int, selector: int, cpl: int) -> int:
    """Load without privilege checks; a selector that names no descriptor becomes an unusable segment."""
    q = engine.context.q
    if not q[CR0] & x86.CR0_PE:
        flags = x86.REAL_MODE_CODE if segment == CS else x86.REAL_MODE_DATA
        delivery.set_segment(segment, selector, selector << 4, 0xFFFF, flags)
        return 0
    low = high = 0
    if selector & 0xFFFC:
        try:
            low, high, _ = delivery.descriptor(selector, x86.GP, 0)
        except Fault:
            low = high = 0
    delivery.set_segment(segment, selector, x86.base(low, high), x86.limit(low, high), high)
    return selector & 3 if segment == CS else cpl
