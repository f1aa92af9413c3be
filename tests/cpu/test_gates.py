# SPDX-License-Identifier: GPL-2.0-or-later
"""Gates that are remembered lead where the checks would lead, whatever has changed since."""

from __future__ import annotations

import random
import struct
from typing import Any

from cpu_box import GDT, IDT, STACK, STACK3, TSS, UCODE, UDATA, Box
from test_paging import PD, PT, paged

from kdumpsim.cpu import descriptors as x86
from kdumpsim.cpu.gates import KnownGates
from kdumpsim.cpu.layout import BASE, CR0, CR4, EFLAGS, ESP, FLAGS, LIMIT, SS, TR

VECTORS = (0x0D, 0x0E, 0x20, 0x80)
ROUNDS = 2500


class Lab:
    """A CPU between events, of which anything may be changed, and put back."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.box = box = Box()
        for vector in VECTORS:
            box.vector(vector, 0xF if vector == 0x80 else 0xE, dpl=3 if vector == 0x80 else 0)
        box.load_tr()
        paged(box)
        box.cpu.set_registers(cr0=0x80010011, esp=STACK - 64)
        self.delivery = box.cpu._delivery
        self.kernel = bytes(self.delivery.context.bytes)
        box.cpu.set_registers(cs=UCODE, ss=UDATA, ds=UDATA, es=UDATA, esp=STACK3)
        self.user = bytes(self.delivery.context.bytes)
        self.tables = {at: bytes(box.memory[at : at + size]) for at, size in ((GDT, 72), (IDT, 0x800), (TSS, 104))}

    def change(self) -> None:
        """One thing, of what may matter."""
        draw, box, d, q = self.random, self.box, self.delivery.context.d, self.delivery.context.q
        what = draw.randrange(17)
        if what == 0:  # any byte of a table
            at = draw.choice((IDT + 8 * draw.choice(VECTORS), GDT + 8, GDT + 16, GDT + 24, TSS + 4)) + draw.randrange(8)
            box.put(at, bytes([box.memory[at] ^ 1 << draw.randrange(8)]))
        elif what == 1:  # any low bit of a page's entry
            at = draw.choice((PD, *(PT + linear // 4096 * 4 for linear in (IDT, GDT, TSS, STACK - 4, STACK))))
            (entry,) = box.words(at, 1)
            box.put(at, struct.pack("<I", entry ^ draw.choice((1, 2, 4, 0x20, 0x40))))
        elif what == 2:  # another page
            at = PT + draw.choice((IDT, GDT, TSS, STACK - 4, STACK - 4, STACK)) // 4096 * 4
            box.put(at, struct.pack("<I", draw.randrange(1 << 9) << 12 | 0x67))
        elif what == 3:
            box.put(TSS + 4, struct.pack("<I", draw.choice((STACK, STACK - 256, STACK + 8, 4, 0x9FFF8, 0x500000))))
        elif what == 4:
            q[ESP] = draw.choice((STACK, STACK - 2, STACK + 8, 8, 0, 0x7F8010, 0xFFFFFFF0))
        elif what == 5:
            q[CR0] ^= x86.CR0_WP
        elif what == 6:
            q[EFLAGS] ^= draw.choice((x86.IF, x86.TF, x86.NT, x86.RF, x86.VM, 1))
        elif what == 7:
            q[CR4] ^= x86.CR4_PSE
        elif what == 8:
            box.put(PD, struct.pack("<I", draw.choice((0xE7, 0x2000E7, 0x20E7, 0x87, PT | 0x27, PT | 0x25))))
            q[CR4] |= x86.CR4_PSE
        elif what == 9:
            box.cpu.set_registers(idtr=(IDT, draw.choice((0x7F, 0x107, 0x7FF))))
        elif what == 10:
            box.cpu.set_registers(gdtr=(GDT + draw.choice((0, 0, 8)), draw.choice((0x17, 0x27, 0x47))))
        elif what == 11:
            d[LIMIT[SS]] = draw.choice((0xFFFFFFFF, 0x6FFF, 0x8FFF))
            d[FLAGS[SS]] ^= draw.choice((0, x86.BIG, x86.EXPAND_DOWN))
            q[BASE[SS]] = draw.choice((0, 0, 0x100))
        elif what == 12:
            q[BASE[TR]], d[LIMIT[TR]] = draw.choice(((TSS + 8, 0x67), (TSS, 7)))
        else:
            self.restore()

    def restore(self) -> None:
        """All plain again, in ring 0 or 3; all is marked as accessed and written."""
        box = self.box
        for at, data in self.tables.items():
            box.put(at, data)
        box.put(PT, struct.pack("<1024I", *(number << 12 | 0x67 for number in range(1024))))
        box.put(PD, struct.pack("<I", PT | 0x27))
        self.delivery.context.bytes[:] = self.random.choice((self.kernel, self.user))

    def deliver(self, vector: int, how: dict[str, Any]) -> tuple[bool, bytes, dict[int, int]]:
        """What an event leaves: state, and what was stored and is there."""
        stored: dict[int, int] = {}
        memory = self.box.cpu._memory

        def written(at: int, size: int) -> None:
            stored.update((byte, self.box.memory[byte]) for byte in range(at, at + size) if byte < len(self.box.memory))

        memory.written = written
        before = bytes(self.box.memory)
        alive = self.delivery.event(vector, **how)
        memory.written = None
        stored = {byte: self.box.memory[byte] for byte in stored}
        after = bytes(self.delivery.context.bytes)
        for byte in stored:
            self.box.memory[byte] = before[byte]
        return alive, after, stored


def test_what_is_known_of_a_gate_never_tells(monkeypatch: Any) -> None:
    lab = Lab(5)
    known, hits = KnownGates.deliver, 0

    def counted(self: KnownGates, *arguments: Any, **named: Any) -> int | None:
        nonlocal hits
        cpl = known(self, *arguments, **named)
        hits += cpl is not None
        return cpl

    lab.restore()
    for _ in range(ROUNDS):
        if lab.random.random() < 0.4:
            lab.restore()
        lab.change()
        vector = lab.random.choice(VECTORS)
        how: dict[str, Any] = {0x20: {"hardware": True}, 0x80: {"software": True}}.get(vector, {"error": 5})
        context = bytes(lab.delivery.context.bytes)
        with monkeypatch.context() as patch:
            patch.setattr(KnownGates, "deliver", lambda *arguments, **named: None)
            checked = lab.deliver(vector, how)
        lab.delivery.context.bytes[:] = context
        with monkeypatch.context() as patch:
            patch.setattr(KnownGates, "deliver", counted)
            assert lab.deliver(vector, how) == checked
        lab.delivery.context.bytes[:] = context
    assert hits > ROUNDS / 4
