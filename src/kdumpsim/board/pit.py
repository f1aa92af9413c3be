# SPDX-License-Identifier: GPL-2.0-or-later
"""Pit (skeleton: signatures are final)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdumpsim.apic.messages import Line, unconnected
from kdumpsim.apic.timers import Timers

_ = (Callable, Line, unconnected, Timers)


class Pit:
    name = "pit"

    def __init__(self, timers: Timers, irq0: Line) -> None: ...

    def ports(self) -> list[tuple[int, int]]:
        return [(0x40, 4), (0x61, 1)]

    def reset(self) -> None: ...
    def port_read(self, port: int, size: int) -> int:
        raise NotImplementedError

    def port_write(self, port: int, size: int, value: int) -> None: ...

    def state(self) -> dict[str, Any]:
        raise NotImplementedError

    def restore(self, state: dict[str, Any]) -> None: ...
