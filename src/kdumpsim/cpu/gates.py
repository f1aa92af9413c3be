# SPDX-License-Identifier: GPL-2.0-or-later
"""Gates that have been gone through before: their checks need not be made again while nothing of them has changed.

What `Delivery` has read to find out where an event goes is remembered (page tables, gate, descriptors), with the
registers that led there. Where all of it is as it was, all that is left to do is to find the stack, and to store the
frame. Only plain cases are known: 32-bit gates, and flat stacks that lie in a writable page, under 32-bit paging. For
all others, and for every fault, `deliver` says no, and has changed nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from . import descriptors as x86
from .layout import (
    BASE,
    CR0,
    CR3,
    CR4,
    CS,
    EFLAGS,
    EIP,
    ESP,
    FLAGS,
    GDTR,
    HF_CPL,
    HFLAGS,
    IDTR,
    LIMIT,
    SELECTOR,
    SS,
    TR,
    Context,
)
from .paging import ACCESSED, DIRTY, PS, RW, P
from .physical import PhysicalMemory

MOST: Final = 512
"""Gates remembered, before all are forgotten."""
_MODE: Final = x86.CR0_PE | x86.CR0_PG | x86.CR0_WP
_WORD: Final = 0xFFFFFFFF
_FLAT: Final = x86.BIG | x86.EXPAND_DOWN | x86.CODE
_CLEARED: Final = {
    x86.TRAP_GATE32: ~(x86.TF | x86.NT | x86.RF | x86.VM) & _WORD,
    x86.INTERRUPT_GATE32: ~(x86.TF | x86.NT | x86.RF | x86.VM | x86.IF) & _WORD,
}
_FRAMES: Final = {count: struct.Struct(f"<{count}I") for count in (3, 4, 5, 6)}

_Registers = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Gate:
    """A gate, with all that decides where it leads."""

    tables: _Registers
    """Mode and descriptor tables (`KnownGates._tables`)."""
    task: _Registers
    """The task register, if the stack is another one: `KnownGates._task`."""
    words: tuple[tuple[int, int], ...]
    """Words of memory, by physical address / 4, and what they were."""
    eip: int
    code: tuple[int, int, int, int]
    """CS: selector, base, limit, flags."""
    keep: int
    """Of EFLAGS."""
    stack: tuple[int, int] | None
    """Another stack: SS and its flags; None: the one there is."""
    pointer: int
    """The word of its ESP in the TSS."""


class KnownGates:
    """Those of one CPU."""

    def __init__(self, context: Context, memory: PhysicalMemory) -> None:
        self._context, self._memory = context, memory
        self._gates: dict[tuple[int, bool, int, int], _Gate] = {}

    def _tables(self) -> _Registers:
        q, d = self._context.q, self._context.d
        return (
            q[CR0] & _MODE, q[CR4] & (x86.CR4_PSE | x86.CR4_PAE), q[BASE[IDTR]], d[LIMIT[IDTR]], q[BASE[GDTR]],
            d[LIMIT[GDTR]],
        )  # fmt: skip

    def _task(self) -> _Registers:
        q, d = self._context.q, self._context.d
        return q[BASE[TR]], d[LIMIT[TR]], d[FLAGS[TR]]

    def deliver(self, vector: int, error: int | None, *, software: bool, set_rf: bool) -> int | None:
        """Go through a gate that is known: the new CPL; None if it isn't, or is no longer as it was."""
        q, d = self._context.q, self._context.d
        cpl = d[HFLAGS] & HF_CPL
        gate = self._gates.get((vector, software, cpl, q[CR3]))
        if gate is None or gate.tables != self._tables():
            return None
        memory = self._memory.words
        for at, value in gate.words:
            if memory[at] != value:
                return None
        eflags = q[EFLAGS] & _WORD
        frame = [q[EIP] & _WORD, d[SELECTOR[CS]], eflags | x86.RF if set_rf else eflags]
        if gate.stack is not None:
            if gate.task != self._task():
                return None
            top = memory[gate.pointer]
            frame += [q[ESP] & _WORD, d[SELECTOR[SS]]]
        else:
            if q[BASE[SS]] or d[LIMIT[SS]] != _WORD or d[FLAGS[SS]] & _FLAT != x86.BIG:
                return None
            top = q[ESP] & _WORD
        if eflags & x86.VM:
            return None
        if error is not None:
            frame.insert(0, error)
        bottom = top - 4 * len(frame)
        place = self._place(bottom, top, ACCESSED | DIRTY | RW) if bottom >= 0 else None
        if place is None:
            return None
        self._memory.write(place, _FRAMES[len(frame)].pack(*frame))
        if gate.stack is not None:
            d[SELECTOR[SS]], d[FLAGS[SS]] = gate.stack
            q[BASE[SS]], d[LIMIT[SS]] = 0, _WORD
        q[ESP], q[EIP], q[EFLAGS] = bottom, gate.eip, eflags & gate.keep
        d[SELECTOR[CS]], q[BASE[CS]], d[LIMIT[CS]], d[FLAGS[CS]] = gate.code
        return gate.code[0] & 3

    def _place(self, begin: int, end: int, wanted: int, words: list[tuple[int, int]] | None = None) -> int | None:
        """Where in RAM linear addresses of one page are, if the walk sets no mark and meets nothing special.

        `wanted`: bits of the entry for the page, `RW` of the one above it, too. `words`: what the walk reads is noted.
        """
        q, memory = self._context.q, self._memory
        at = (q[CR3] & 0xFFFFF000) + (begin >> 20 & 0xFFC)
        if not memory.holds(at, 4):
            return None
        entry = memory.words[at >> 2]
        if words is not None:
            words.append((at >> 2, entry))
        if entry & PS and q[CR4] & x86.CR4_PSE:
            need = P | wanted
            if entry & (need | 0x3FE000) != need:
                return None
            place = entry & 0xFFC00000 | begin & 0x3FFFFF
        else:
            need = P | ACCESSED | wanted & RW
            if entry & need != need:
                return None
            at = (entry & 0xFFFFF000) + (begin >> 10 & 0xFFC)
            if not memory.holds(at, 4):
                return None
            entry, need = memory.words[at >> 2], P | wanted
            if words is not None:
                words.append((at >> 2, entry))
            if entry & need != need:
                return None
            place = entry & 0xFFFFF000 | begin & 0xFFF
        return place if memory.holds(place, end - begin) else None

    def learn(self, vector: int, *, software: bool, cpl: int, stack: bool) -> None:
        """The context has just gone through a gate from this CPL, `stack`: onto another stack; is it a plain one?"""
        q, d = self._context.q, self._context.d
        words: list[tuple[int, int]] = []
        if not q[CR0] & x86.CR0_PG or q[CR4] & x86.CR4_PAE or q[EFLAGS] & x86.VM:
            return
        high = self._pair(q[BASE[IDTR]] + 8 * vector, words)
        kind = -1 if high is None else x86.system_type(high)
        if kind not in _CLEARED or d[SELECTOR[CS]] & 4 or q[BASE[SS]] or d[LIMIT[SS]] != _WORD:
            return
        if self._pair(q[BASE[GDTR]] + (d[SELECTOR[CS]] & 0xFFF8), words) is None:
            return
        pointer = 0
        if stack:
            if d[SELECTOR[SS]] & 4 or d[FLAGS[SS]] & _FLAT != x86.BIG or not d[FLAGS[TR]] >> 8 & 8:
                return
            if self._pair(q[BASE[GDTR]] + (d[SELECTOR[SS]] & 0xFFF8), words) is None:
                return
            at = q[BASE[TR]] + x86.TSS32.stack + 8 * (d[SELECTOR[CS]] & 3)
            place = self._place(at, at + 8, ACCESSED, words) if not at & 3 else None
            if place is None:
                return
            pointer = place >> 2
            words.append((pointer + 1, self._memory.words[pointer + 1]))
        if len(self._gates) >= MOST:
            self._gates.clear()
        self._gates[vector, software, cpl, q[CR3]] = _Gate(
            self._tables(),
            self._task() if stack else (),
            tuple(dict.fromkeys(words)),
            q[EIP],
            (d[SELECTOR[CS]], q[BASE[CS]], d[LIMIT[CS]], d[FLAGS[CS]]),
            _CLEARED[kind],
            (d[SELECTOR[SS]], d[FLAGS[SS]]) if stack else None,
            pointer,
        )

    def _pair(self, at: int, words: list[tuple[int, int]]) -> int | None:
        """The high word of a descriptor; both are noted."""
        place = self._place(at, at + 8, ACCESSED, words) if not at & 3 else None
        if place is None:
            return None
        index, memory = place >> 2, self._memory.words
        words += [(index, memory[index]), (index + 1, memory[index + 1])]
        return memory[index + 1]
