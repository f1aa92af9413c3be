# SPDX-License-Identifier: GPL-2.0-or-later
"""The I/O APIC, after Intel's 82093AA datasheet (290566).

Pin levels are electrical: an entry with polarity "active low" sees a low pin as asserted. (QEMU ignores polarity; the
pins of this board are active high, as on a PIIX3, but for those of PCI beside native-mode SATA.) An edge that arrives
at a masked entry is lost; a level is looked at again when its entry is written and when its interrupt ends.

Not modelled: the serial APIC bus. A message is sent at once and counts as accepted, so delivery status always reads
idle, and remote IRR is set by sending. Arbitration never happens; the register shows the ID. SMI goes out as a message.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from .messages import DeliveryMode, Message
from .registers import Access, Field, Register

ADDRESS = 0xFEC00000
PINS = 24
VERSION = 0x11
IOREGSEL = 0x00
IOWIN = 0x10
REDIRECTION = 0x10  # index of the first of the table's 48 registers

_LEVEL_MODES = (DeliveryMode.FIXED, DeliveryMode.LOWEST)


class Identification(Register):
    id = Field(24, 4)


class RedirectionEntry(Register):
    vector = Field(0, 8)
    mode = Field(8, 3)
    logical = Field(11)
    status = Field(12, access=Access.RO)
    polarity = Field(13)
    remote_irr = Field(14, access=Access.RO)
    trigger = Field(15)
    mask = Field(16, reset=1)
    destination = Field(56, 8)


_MASKED, _ACTIVE_LOW = RedirectionEntry.mask.mask, RedirectionEntry.polarity.mask


@lru_cache(maxsize=128)
def _message(value: int) -> Message:
    """What is sent for an entry."""
    entry = RedirectionEntry(value)
    mode = DeliveryMode(entry.mode)
    level = bool(entry.trigger) and mode in _LEVEL_MODES
    return Message(mode, entry.vector, entry.destination, logical=bool(entry.logical), trigger_level=level)


class IoApic:
    name = "ioapic"

    def __init__(self, apic_id: int, post: Callable[[Message], None]) -> None:
        self._post = post
        self._power_on_id = apic_id
        self._id = Identification(apic_id << 24)
        self._select = 0
        self._levels = 0  # one bit per pin
        self._table = [RedirectionEntry() for _ in range(PINS)]

    def memory(self) -> list[tuple[int, int]]:
        """Where chipsets have the first one."""
        return [(ADDRESS, 0x1000)]

    def read(self, offset: int) -> int:
        if offset == IOWIN:
            return self._read_window()
        return self._select if offset == IOREGSEL else 0

    def write(self, offset: int, value: int) -> None:
        if offset == IOREGSEL:
            self._select = value & 0xFF
        elif offset == IOWIN:
            self._write_window(value)

    def set_pin(self, pin: int, level: bool) -> None:
        """The electrical level of an interrupt input."""
        if bool(self._levels >> pin & 1) == level:
            return
        self._levels ^= 1 << pin
        self._look(pin, edge=True)

    def eoi(self, vector: int) -> None:
        """A local APIC ended a level-triggered interrupt."""
        for pin, entry in enumerate(self._table):
            if entry.remote_irr and entry.vector == vector:
                entry.remote_irr = 0
                self._look(pin, edge=False)

    def _look(self, pin: int, *, edge: bool) -> None:
        """Look at a pin after its level changed (`edge`) or after something else about it did."""
        entry = self._table[pin]
        value = entry.value
        if value & _MASKED or bool(self._levels >> pin & 1) != (not value & _ACTIVE_LOW):
            return
        message = _message(value)
        if message.trigger_level:
            if not entry.remote_irr:
                entry.remote_irr = 1
                self._post(message)
        elif edge:
            self._post(message)

    def _read_window(self) -> int:
        index = self._select
        if REDIRECTION <= index < REDIRECTION + 2 * PINS:
            pin, high = divmod(index - REDIRECTION, 2)
            return self._table[pin].value >> 32 * high & 0xFFFFFFFF
        if index == 1:
            return VERSION | (PINS - 1) << 16
        return self._id.value if index in (0, 2) else 0

    def _write_window(self, value: int) -> None:
        index = self._select
        if REDIRECTION <= index < REDIRECTION + 2 * PINS:
            pin, high = divmod(index - REDIRECTION, 2)
            entry = self._table[pin]
            if high:
                entry.write(entry.value & 0xFFFFFFFF | value << 32)
            else:
                entry.write(entry.value & ~0xFFFFFFFF | value)
            if not entry.trigger:
                entry.remote_irr = 0
            self._look(pin, edge=False)
        elif index == 0:
            self._id.write(value)

    def reset(self) -> None:
        """Power-on. The levels of the pins belong to whoever drives them."""
        self._id.value = self._power_on_id << 24
        self._select = 0
        for entry in self._table:
            entry.reset()

    def state(self) -> dict[str, Any]:
        return {
            "id": self._id.value,
            "select": self._select,
            "levels": self._levels,
            "table": [entry.value for entry in self._table],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._id.value = state["id"]
        self._select = state["select"]
        self._levels = state["levels"]
        for entry, value in zip(self._table, state["table"], strict=True):
            entry.value = value
