# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupt controllers before the hand-over, at it, and in the kernel that runs next.

What is drawn are their registers as the devices had them (SDM volume 3, "Local Vector Table"; 82093AA, "I/O
redirection table registers"; 8259A). A frame marks what differs from the column before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdumpsim.apic.ioapic import PINS, RedirectionEntry
from kdumpsim.apic.lapic_registers import LvtEntry, LvtLint, LvtTimer, SpuriousVector
from kdumpsim.apic.messages import DeliveryMode
from kdumpsim.explain.pictures.recorder import CRASH, END, JUMP, Moment, Record
from kdumpsim.explain.pictures.svg import Drawing, Svg
from kdumpsim.lkdtt.outcome import NS

WIDTH, LEFT, TOP, ROW, COLUMN = 960, 150, 84, 20, 262
NAMES = {"fixed": "fixed", "lowest": "lowest priority", "nmi": "NMI", "extint": "ExtINT", "smi": "SMI",
         "init": "INIT", "startup": "start-up"}  # fmt: skip
LVT = (("LVT timer", 0), ("LVT performance", 2), ("LVT LINT0", 3), ("LVT LINT1", 4), ("LVT error", 5))


@dataclass(frozen=True)
class Row:
    """One register at each of the moments."""

    name: str
    values: tuple[str, ...]
    kinds: tuple[str, ...]
    """How each is drawn."""
    full: tuple[str, ...]
    """Each in full."""


def figures(record: Record) -> list[Drawing]:
    """One picture, of the moments that the run came past."""
    moments = [moment for moment in (record.moments.get(CRASH), record.moments.get(JUMP), _last(record)) if moment]
    if not moments:
        return []
    title = "Interrupt controllers"
    sections = [*_lapics(moments), ("I/O APIC", list(_ioapic(moments))), ("8259As", list(_pics(moments)))]
    height = TOP + sum(ROW * (len(rows) + 1) + 14 for _, rows in sections) + 10
    svg = Svg(WIDTH, height, title, "Registers of the local APICs, the I/O APIC and the 8259As")
    svg.text(20, 24, title, "h")
    for number, moment in enumerate(moments):
        x = LEFT + number * (COLUMN + 6)
        svg.text(x, 48, moment.title, "b", room=COLUMN)
        svg.text(x, 62, f"{moment.instant.time_ns / NS:.6f} s", "s")
    y = TOP
    changes = 0
    for heading, rows in sections:
        svg.text(20, y + 13, heading, "b")
        y += ROW
        for row in rows:
            changes += _draw(svg, y, row)
            y += ROW
        y += 14
    caption = (f"As the devices had them at {len(moments)} moments. A thick frame marks what differs from the moment "
               f"before: {changes} values. Masked entries are grey.")  # fmt: skip
    return [Drawing("controllers", title, caption, str(svg))]


def _last(record: Record) -> Moment | None:
    """The moment that shows what came after the hand-over: the last milestone, or the end if that was not reached."""
    last = record.stations[-1].name if record.stations else END
    return record.moments.get(last) or record.moments.get(END)


def _draw(svg: Svg, y: float, row: Row) -> int:
    svg.text(34, y + 14, row.name, "s", room=LEFT - 40)
    changed = 0
    for number, value in enumerate(row.values):
        x = LEFT + number * (COLUMN + 6)
        differs = number > 0 and row.full[number] != row.full[number - 1]
        full = row.full[number]
        svg.rect(
            x, y + 2, COLUMN, ROW - 4, row.kinds[number], full, register=row.name, value=full, differs=int(differs)
        )
        if differs:
            svg.rect(x, y + 2, COLUMN, ROW - 4, "thick")
        svg.text(x + 6, y + 14, value, "m", room=COLUMN - 10)
        changed += differs
    return changed


def _row(name: str, values: Sequence[tuple[str, bool]]) -> Row:
    """A row of (text, whether it does anything)."""
    texts = tuple(text for text, _ in values)
    return Row(name, texts, tuple("save" if on else "free" for _, on in values), texts)


def _lapics(moments: Sequence[Moment]) -> Iterator[tuple[str, list[Row]]]:
    names = [name for name in moments[0].controllers if name.startswith("lapic")]
    for name in names:
        states = [moment.controllers[name] for moment in moments]
        rows = [_row("state", [_enabled(state) for state in states])]
        rows += [_row(label, [_lvt(state, index) for state in states]) for label, index in LVT]
        rows.append(_row("IRR, ISR", [_vectors(state) for state in states]))
        yield f"Local APIC {name.removeprefix('lapic')}", rows


def _enabled(state: Mapping[str, Any]) -> tuple[str, bool]:
    svr = SpuriousVector(state["registers"]["svr"])
    if not state["hardware_enabled"]:
        return "disabled (IA32_APIC_BASE)", False
    if not svr.enabled:
        return "software-disabled", False
    return f"enabled, spurious vector {svr.vector:#x}, TPR {state['registers']['tpr']:#x}", True


def _lvt(state: Mapping[str, Any], index: int) -> tuple[str, bool]:
    value = state["registers"][f"lvt{index}"]
    entry: LvtEntry = LvtTimer(value) if index == 0 else LvtLint(value)
    words = [f"vector {entry.vector:#x}"]
    if isinstance(entry, LvtLint):
        words.append(_mode(entry.mode))
        if entry.trigger:
            words.append("level")
        if entry.mode in (DeliveryMode.NMI, DeliveryMode.EXTINT):
            del words[0]
    elif isinstance(entry, LvtTimer):
        words.append("periodic" if entry.periodic else "one-shot")
    return ("masked" if entry.mask else ", ".join(words)), not entry.mask


def _mode(value: int) -> str:
    try:
        return NAMES[DeliveryMode(value).name.lower()]
    except (KeyError, ValueError):
        return f"mode {value}"


def _vectors(state: Mapping[str, Any]) -> tuple[str, bool]:
    words = []
    for name, bits in (("requested", state["irr"]), ("in service", state["isr"])):
        if bits:
            words.append(f"{name} {' '.join(f'{vector:#x}' for vector in range(256) if bits >> vector & 1)}")
    return ", ".join(words) or "empty", bool(words)


def _ioapic(moments: Sequence[Moment]) -> Iterator[Row]:
    """Pins that do anything at one of the moments; the others are masked throughout."""
    tables = [[RedirectionEntry(value) for value in moment.controllers["ioapic"]["table"]] for moment in moments]
    used = [pin for pin in range(PINS) if not all(table[pin].mask for table in tables)]
    for pin in used:
        yield _row(f"pin {pin}", [_entry(table[pin]) for table in tables])
    rest = PINS - len(used)
    yield _row("other pins" if used else "all pins", [(f"{rest} masked", False)] * len(moments))


def _entry(entry: RedirectionEntry) -> tuple[str, bool]:
    if entry.mask:
        return "masked", False
    mode = _mode(entry.mode)
    vector = "" if entry.mode in (DeliveryMode.EXTINT, DeliveryMode.NMI) else f"{entry.vector:#x} "
    place = f"{'set' if entry.logical else 'APIC'} {entry.destination:#x}"
    words = [f"{vector}{mode} to {place}", *(["level"] if entry.trigger else []),
             *(["active low"] if entry.polarity else []), *(["remote IRR"] if entry.remote_irr else [])]  # fmt: skip
    return ", ".join(words), True


def _pics(moments: Sequence[Moment]) -> Iterator[Row]:
    for half, first in (("master", 0), ("slave", 8)):
        states = [moment.controllers["pic"][half] for moment in moments]
        yield _row(half, [_unmasked(state, first) for state in states])
        yield _row("  IRR, ISR", [_requests(state, first) for state in states])


def _inputs(bits: int, first: int) -> str:
    return " ".join(str(first + bit) for bit in range(8) if bits >> bit & 1)


def _unmasked(state: Mapping[str, Any], first: int) -> tuple[str, bool]:
    opened = _inputs(~state["imr"] & 0xFF, first)
    base = f"vectors from {state['base']:#x}"
    return (f"{base}, IRQ {opened} unmasked" if opened else f"{base}, all masked"), bool(opened)


def _requests(state: Mapping[str, Any], first: int) -> tuple[str, bool]:
    words = [f"{name} {_inputs(state[key], first)}" for name, key in (("requested", "irr"), ("in service", "isr"))
             if state[key]]  # fmt: skip
    return ", ".join(words) or "empty", bool(words)
