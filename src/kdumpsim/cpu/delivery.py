# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupts and exceptions through the IDT (SDM vol. 3A, chapter 6) or the real-mode vector table (20.1.4).

The engine reports that an event happened; the rest is done here, on the engine's saved context: gate and segment
checks, stack switch, frame, error code, double and triple fault. Nothing is changed before all checks have passed
and the frame is stored, so a fault on the way is delivered from the state before. Task gates are in `tasks.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from . import descriptors as x86
from .descriptors import ERROR_EXT, ERROR_IDT, Fault
from .gates import KnownGates
from .layout import (
    BASE,
    CR0,
    CR2,
    CR3,
    CR4,
    CS,
    DS,
    EFLAGS,
    EIP,
    ES,
    ESP,
    FLAGS,
    FS,
    GDTR,
    GS,
    HF_ADDSEG,
    HF_CPL,
    HF_CS32,
    HF_INHIBIT_IRQ,
    HF_PE,
    HF_SS32,
    HFLAGS,
    IDTR,
    LDTR,
    LIMIT,
    SELECTOR,
    SS,
    TR,
    Context,
)
from .paging import Paging
from .physical import PhysicalMemory

_CONTRIBUTORY: Final = frozenset({0, 10, 11, 12, 13})  # table 6-4
_FAULTS: Final = frozenset({0, 5, 6, 7, 10, 11, 12, 13, 14, 16, 17, 19})  # classes of table 6-1: these push RF = 1
_INTERRUPT_GATES: Final = (x86.INTERRUPT_GATE16, x86.INTERRUPT_GATE32)
_GATES: Final = frozenset({*_INTERRUPT_GATES, x86.TRAP_GATE16, x86.TRAP_GATE32, x86.TASK_GATE})

_CS_BASE, _CS_LIMIT, _CS_FLAGS, _CS_SELECTOR = BASE[CS], LIMIT[CS], FLAGS[CS], SELECTOR[CS]
_SS_BASE, _SS_LIMIT, _SS_FLAGS, _SS_SELECTOR = BASE[SS], LIMIT[SS], FLAGS[SS], SELECTOR[SS]
_IDT_BASE, _IDT_LIMIT = BASE[IDTR], LIMIT[IDTR]

TaskSwitch = Callable[[int, int, "int | None", int], None]


class Delivery:
    """Event delivery for one CPU. `context` must be fresh and is left changed; the caller puts it back."""

    def __init__(self, context: Context, memory: PhysicalMemory) -> None:
        self.context = context
        self.paging = Paging(memory)
        self.known = KnownGates(context, memory)
        self.task_switch: TaskSwitch | None = None
        self.on_refused: Callable[[int, Fault, int | None], None] | None = None
        """Told of an event's vector, of the fault that its delivery has met, and of the vector that is delivered
        instead (None: of none, a shutdown); the context is still as before."""

    def sync(self) -> Paging:
        """The page walker, told the context's control registers."""
        q, paging = self.context.q, self.paging
        paging.cr0, paging.cr3, paging.cr4 = q[CR0], q[CR3], q[CR4]
        return paging

    def event(self, vector: int, *, error: int = 0, software: bool = False, hardware: bool = False) -> bool:
        """Deliver one event; False if it ended in a triple fault (shutdown).

        `software`: INT n, INT3, INTO (EIP is past it; gate DPL counts). `hardware`: interrupt or NMI, no error code.
        Otherwise an exception, whose `error` is pushed where the vector has one.
        """
        q = self.context.q
        self.sync()
        code = error if not (software or hardware) and vector in x86.WITH_ERROR_CODE else None
        benign = software or hardware
        ext = 0 if software else ERROR_EXT
        while True:
            try:
                if q[CR0] & x86.CR0_PE:
                    set_rf = not benign and vector in _FAULTS
                    cpl = self.known.deliver(vector, code, software=software, set_rf=set_rf)
                    if cpl is not None:
                        self.refresh_hflags(cpl)
                    else:
                        self._protected(vector, code, software, ext, set_rf)
                else:
                    self._real(vector)
                return True
            except Fault as fault:
                if fault.address is not None:
                    q[CR2] = fault.address
                instead = _instead(None if benign else vector, fault.vector)
                if self.on_refused is not None:
                    self.on_refused(vector, fault, instead)
                if software:
                    q[EIP] = q[EIP] - self._software_length(vector) & 0xFFFFFFFF
                if instead is None:
                    return False
                vector, code = instead, fault.error if instead == fault.vector else 0
                benign = software = False
                ext = ERROR_EXT

    def _software_length(self, vector: int) -> int:
        """A fault in delivering INT n belongs to the INT itself, but the engine has moved past it."""
        q = self.context.q
        before = self.paging.peek((q[_CS_BASE] + q[EIP] - 1) & 0xFFFFFFFF)
        if before is None:
            return 2
        opcode = self.paging._memory.read(before, 1)[0]
        return 1 if (vector, opcode) in ((x86.BP, 0xCC), (x86.OF_TRAP, 0xCE)) else 2

    # Real mode.

    def _real(self, vector: int) -> None:
        q, d, paging = self.context.q, self.context.d, self.paging
        if vector * 4 + 3 > d[_IDT_LIMIT]:
            raise Fault(x86.GP)
        entry = paging.read32(q[_IDT_BASE] + vector * 4)
        sp = q[ESP]
        for value in (q[EFLAGS], d[_CS_SELECTOR], q[EIP]):
            sp = sp & 0xFFFF0000 | sp - 2 & 0xFFFF
            paging.write(q[_SS_BASE] + (sp & 0xFFFF), struct.pack("<H", value & 0xFFFF))
        q[ESP] = sp
        q[EIP] = entry & 0xFFFF
        q[EFLAGS] &= ~(x86.IF | x86.TF | x86.RF | x86.AC) & 0xFFFFFFFF
        d[_CS_SELECTOR] = entry >> 16
        q[_CS_BASE] = entry >> 16 << 4
        d[HFLAGS] &= ~HF_INHIBIT_IRQ

    # Protected mode.

    def descriptor(self, selector: int, vector: int, ext: int) -> tuple[int, int, int]:
        """(low, high, linear address) of a descriptor; Fault(vector, selector) if it lies outside its table."""
        q, d = self.context.q, self.context.d
        table = LDTR if selector & 4 else GDTR
        if selector & 4 and not d[SELECTOR[LDTR]] & 0xFFFC:
            raise Fault(vector, selector & 0xFFFC | ext)
        offset = selector & 0xFFF8
        if offset + 7 > d[LIMIT[table]]:
            raise Fault(vector, selector & 0xFFFC | ext)
        at = q[BASE[table]] + offset
        return *self.paging.read32_pair(at), at

    def _protected(self, vector: int, error: int | None, software: bool, ext: int, set_rf: bool) -> None:
        q, d, paging = self.context.q, self.context.d, self.paging
        in_idt = vector * 8 | ERROR_IDT | ext
        if vector * 8 + 7 > d[_IDT_LIMIT]:
            raise Fault(x86.GP, in_idt)
        at = q[_IDT_BASE] + vector * 8
        low, high = paging.read32_pair(at)
        kind = x86.system_type(high)
        if kind not in _GATES:
            raise Fault(x86.GP, in_idt)
        cpl = d[HFLAGS] & HF_CPL
        if software and high >> 13 & 3 < cpl:
            raise Fault(x86.GP, in_idt)
        if not high & x86.PRESENT:
            raise Fault(x86.NP, in_idt)
        selector = low >> 16
        if kind == x86.TASK_GATE:
            assert self.task_switch is not None
            self.task_switch(selector, ext, error, 0)
            return
        if not selector & 0xFFFC:
            raise Fault(x86.GP, ext)
        code_low, code_high, code_at = self.descriptor(selector, x86.GP, ext)
        code_dpl = code_high >> 13 & 3
        in_code = selector & 0xFFFC | ext
        if code_high & (x86.SEGMENT | x86.CODE) != x86.SEGMENT | x86.CODE or code_dpl > cpl:
            raise Fault(x86.GP, in_code)
        if not code_high & x86.PRESENT:
            raise Fault(x86.NP, in_code)

        eflags, esp = q[EFLAGS] & 0xFFFFFFFF, q[ESP] & 0xFFFFFFFF  # the engine's registers are 64 bits wide
        v86 = eflags & x86.VM
        inner = not code_high & x86.CONFORMING and code_dpl < cpl
        if v86 and not (inner and code_dpl == 0):
            raise Fault(x86.GP, in_code)
        pushed = eflags | x86.RF if set_rf else eflags
        frame = [q[EIP] & 0xFFFFFFFF, d[_CS_SELECTOR], pushed]
        if inner:
            new_cpl = code_dpl
            frame += [esp, d[_SS_SELECTOR]]
            if v86:
                frame += [d[SELECTOR[s]] for s in (ES, DS, FS, GS)]
            ss, top = self._inner_stack(new_cpl, ext)
            ss_low, ss_high = self._stack_segment(ss, new_cpl, ext)
            ss_base, ss_limit = x86.base(ss_low, ss_high), x86.limit(ss_low, ss_high)
        else:
            new_cpl = cpl
            ss, top = d[_SS_SELECTOR], esp
            ss_base, ss_limit, ss_high = q[_SS_BASE], d[_SS_LIMIT], d[_SS_FLAGS]
        if error is not None:
            frame.insert(0, error)
        width = 4 if kind & 8 else 2
        mask = 0xFFFFFFFF if ss_high & x86.BIG else 0xFFFF
        size = len(frame) * width
        bottom = top - size & mask
        # A frame may go around the end of the stack segment's offsets, if only between two of its slots.
        around = min(mask + 1 - bottom, size)
        fits = _within(bottom, around, ss_limit, ss_high)
        if around < size:
            fits = fits and not around % width and _within(0, size - around, ss_limit, ss_high)
        if not fits:
            raise Fault(x86.SS_FAULT, (ss & 0xFFFC if inner else 0) | ext)
        if width == 4:
            data = struct.pack(f"<{len(frame)}I", *frame)
            offset = high & 0xFFFF0000 | low & 0xFFFF
        else:
            data = struct.pack(f"<{len(frame)}H", *(value & 0xFFFF for value in frame))
            offset = low & 0xFFFF
        code_limit = x86.limit(code_low, code_high)
        if offset > code_limit:
            raise Fault(x86.GP, ext)
        if around < size:
            self._reach(ss_base, size - around, width)
            self._reach(ss_base + bottom, around, width)
            paging.write(ss_base, data[around:])
            data = data[:around]
        elif q[CR0] & x86.CR0_PG:
            self._reach(ss_base + bottom, size, width)
        paging.write(ss_base + bottom, data)
        if not code_high & x86.ACCESSED:
            code_high |= x86.ACCESSED
            paging.write32(code_at + 4, code_high)

        # Past the last fault: commit.
        if inner:
            d[_SS_SELECTOR], q[_SS_BASE], d[_SS_LIMIT], d[_SS_FLAGS] = ss, ss_base, ss_limit, ss_high
            if v86:
                for segment in (ES, DS, FS, GS):
                    self.set_segment(segment, 0, 0, 0, 0)
        q[ESP] = bottom if mask == 0xFFFFFFFF else (top if inner else esp) & 0xFFFF0000 | bottom
        d[_CS_SELECTOR] = selector & 0xFFFC | new_cpl
        q[_CS_BASE], d[_CS_LIMIT], d[_CS_FLAGS] = x86.base(code_low, code_high), code_limit, code_high
        q[EIP] = offset
        cleared = x86.TF | x86.NT | x86.RF | x86.VM
        if kind in _INTERRUPT_GATES:
            cleared |= x86.IF
        q[EFLAGS] = eflags & ~cleared
        self.refresh_hflags(new_cpl)
        if not v86:
            self.known.learn(vector, software=software, cpl=cpl, stack=bool(inner))

    def _reach(self, address: int, size: int, width: int) -> None:
        """Fault if a frame cannot be stored; pushes go downwards, so CR2 names the highest slot that is in the way."""
        translate = self.paging.translate
        top = address + size - width
        translate(top & 0xFFFFFFFF, True)
        if (address ^ top) & ~0xFFF:
            below = top - (top % 0x1000 // width + 1) * width
            translate(below & 0xFFFFFFFF, True)

    def _inner_stack(self, level: int, ext: int) -> tuple[int, int]:
        """SS and ESP for a privilege level, out of the TSS (6.12.1)."""
        q, d, paging = self.context.q, self.context.d, self.paging
        limit, at = d[LIMIT[TR]], q[BASE[TR]]
        if d[FLAGS[TR]] >> 8 & 8:
            offset = x86.TSS32.stack + level * 8
            if offset + 5 > limit:
                raise Fault(x86.TS, d[SELECTOR[TR]] & 0xFFFC | ext)
            return paging.read32(at + offset + 4) & 0xFFFF, paging.read32(at + offset)
        offset = x86.TSS16.stack + level * 4
        if offset + 3 > limit:
            raise Fault(x86.TS, d[SELECTOR[TR]] & 0xFFFC | ext)
        return paging.read16(at + offset + 2), paging.read16(at + offset)

    def _stack_segment(self, selector: int, level: int, ext: int) -> tuple[int, int]:
        """The checked descriptor of a new stack segment."""
        if not selector & 0xFFFC:
            raise Fault(x86.TS, ext)
        low, high, at = self.descriptor(selector, x86.TS, ext)
        kind = high & (x86.SEGMENT | x86.CODE | x86.WRITABLE)
        if selector & 3 != level or x86.dpl(high) != level or kind != x86.SEGMENT | x86.WRITABLE:
            raise Fault(x86.TS, selector & 0xFFFC | ext)
        if not high & x86.PRESENT:
            raise Fault(x86.SS_FAULT, selector & 0xFFFC | ext)
        if not high & x86.ACCESSED:
            high |= x86.ACCESSED
            self.paging.write32(at + 4, high)
        return low, high

    def set_segment(self, segment: int, selector: int, base: int, limit: int, flags: int) -> None:
        """A segment register with its hidden part. `refresh_hflags` must follow."""
        q, d = self.context.q, self.context.d
        d[SELECTOR[segment]], q[BASE[segment]], d[LIMIT[segment]], d[FLAGS[segment]] = selector, base, limit, flags

    def refresh_hflags(self, cpl: int) -> None:
        """What the translator needs to know of the mode, derived from the segments; ends an interrupt shadow."""
        q, d = self.context.q, self.context.d
        hflags = d[HFLAGS] & ~(HF_CPL | HF_CS32 | HF_SS32 | HF_ADDSEG | HF_INHIBIT_IRQ | HF_PE) | cpl
        protected = q[CR0] & x86.CR0_PE
        if protected:
            hflags |= HF_PE
        if d[_CS_FLAGS] & x86.BIG:
            hflags |= HF_CS32
        if d[_SS_FLAGS] & x86.BIG:
            hflags |= HF_SS32
        if not (protected and hflags & HF_CS32) or q[EFLAGS] & x86.VM or q[_SS_BASE] or q[BASE[DS]] or q[BASE[ES]]:
            hflags |= HF_ADDSEG
        d[HFLAGS] = hflags


def _instead(first: int | None, second: int) -> int | None:
    """What is delivered when an event's delivery meets a fault (tables 6-4 and 6-5); None: nothing, a shutdown.
    The first one is None if it is benign: an interrupt."""
    if first == x86.DOUBLE_FAULT:
        return None
    contributory = second in _CONTRIBUTORY
    if first in _CONTRIBUTORY and contributory:
        return x86.DOUBLE_FAULT
    if first == x86.PAGE_FAULT and (contributory or second == x86.PAGE_FAULT):
        return x86.DOUBLE_FAULT
    return second


def _within(bottom: int, size: int, limit: int, flags: int) -> bool:
    """Does [bottom, bottom + size) lie inside a data segment?"""
    last = bottom + size - 1
    if flags & x86.EXPAND_DOWN:
        return bottom > limit and last <= (0xFFFFFFFF if flags & x86.BIG else 0xFFFF)
    return last <= limit
