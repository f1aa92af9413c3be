# SPDX-License-Identifier: GPL-2.0-or-later
"""System control port A of the PS/2, port 0x92: the quick ways to the reset line and to the A20 gate.

Bit 0 resets on its rising edge, bit 1 opens A20; the rest keeps what is written. Address line 20 is never masked on
this board, so the gate is remembered and does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdumpsim.apic.registers import Field, Register

PORT = 0x92


class SystemControl(Register):
    fast_reset = Field(0)
    a20 = Field(1, reset=1)  # as firmware leaves it
    security_lock = Field(3)
    watchdog = Field(4)
    activity_light = Field(6, 2)


class Port92:
    """`on_reset` is the pulse on the reset line."""

    name = "port92"

    def __init__(self, on_reset: Callable[[], None]) -> None:
        self._on_reset = on_reset
        self._control = SystemControl()

    def ports(self) -> list[tuple[int, int]]:
        return [(PORT, 1)]

    def port_read(self, port: int, size: int) -> int:
        return self._control.value

    def port_write(self, port: int, size: int, value: int) -> None:
        before = self._control.fast_reset
        self._control.write(value & 0xFF)
        if self._control.fast_reset and not before:
            self._on_reset()

    def reset(self) -> None:
        self._control.reset()

    def state(self) -> dict[str, Any]:
        return {"control": self._control.value}

    def restore(self, state: dict[str, Any]) -> None:
        self._control.value = state["control"]
