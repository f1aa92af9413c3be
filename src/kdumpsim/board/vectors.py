# SPDX-License-Identifier: GPL-2.0-or-later
"""What an interrupt vector stands for on this PC, by what its controllers are programmed to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kdumpsim.apic.i8259 import I8259Pair
from kdumpsim.apic.ioapic import IoApic
from kdumpsim.apic.lapic import LocalApic

EXCEPTIONS: Final = (
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "coprocessor", "#TS", "#NP", "#SS", "#GP", "#PF",
    "reserved", "#MF", "#AC", "#MC", "#XM",
)  # fmt: skip
"""SDM vol. 3A, table 6-1."""
_PIN_OF_IRQ0: Final = 2
_MASKED: Final = 1 << 16


def vector_name(vector: int, lapic: LocalApic, ioapic: IoApic, pic: I8259Pair) -> str:
    """An exception's mnemonic, `IRQ n`, `local timer`, or the vector itself: an IPI's, INT n's."""
    if vector < len(EXCEPTIONS):
        return EXCEPTIONS[vector]
    states = lapic.state()["registers"], ioapic.state()["table"], pic.state()
    if vector == states[0]["lvt0"] & 0xFF and not states[0]["lvt0"] & _MASKED:
        return "local timer"
    entries: Sequence[int] = states[1]
    for pin, entry in enumerate(entries):
        if vector == entry & 0xFF and not entry & _MASKED:
            return f"IRQ {0 if pin == _PIN_OF_IRQ0 else pin}"
    for half, first in (("master", 0), ("slave", 8)):
        base = states[2][half]["base"]
        if base and base <= vector < base + 8:
            return f"IRQ {first + vector - base}"
    return f"vector {vector:#x}"
