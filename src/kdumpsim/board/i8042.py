# SPDX-License-Identifier: GPL-2.0-or-later
"""I8042 (skeleton: signatures are final)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdumpsim.apic.messages import Line, unconnected
from kdumpsim.apic.timers import Timers

_ = (Callable, Line, unconnected, Timers)


class I8042:
    name = "i8042"

    def __init__(self, irq1: Line, irq12: Line, on_reset: Callable[[], None], on_a20: Line = unconnected) -> None: ...

    def ports(self) -> list[tuple[int, int]]:
        return [(0x60, 1), (0x64, 1)]

    def reset(self) -> None: ...
    def port_read(self, port: int, size: int) -> int:
        raise NotImplementedError

    def port_write(self, port: int, size: int, value: int) -> None: ...
    def press(self, key: str) -> None: ...
    def release(self, key: str) -> None: ...
    def type_text(self, text: str) -> None: ...

    def state(self) -> dict[str, Any]:
        raise NotImplementedError

    def restore(self, state: dict[str, Any]) -> None: ...
