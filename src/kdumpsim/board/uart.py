# SPDX-License-Identifier: GPL-2.0-or-later
"""Uart (skeleton: signatures are final)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdumpsim.apic.messages import Line, unconnected
from kdumpsim.apic.timers import Timers

_ = (Callable, Line, unconnected, Timers)


class Uart:
    name = "uart"

    def __init__(self, name: str, base: int, timers: Timers, irq: Line, on_output: Callable[[bytes], None], *, pace_ns: int = 0) -> None: ...

    def ports(self) -> list[tuple[int, int]]:
        return []  # (base, 8)

    def reset(self) -> None: ...
    def port_read(self, port: int, size: int) -> int:
        raise NotImplementedError

    def port_write(self, port: int, size: int, value: int) -> None: ...
    def feed(self, data: bytes) -> None: ...
    def flush(self) -> None:
        """Hand on what was transmitted and not yet handed on (the Machine calls it when run() returns)."""

    def state(self) -> dict[str, Any]:
        raise NotImplementedError

    def restore(self, state: dict[str, Any]) -> None: ...
