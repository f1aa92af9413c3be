# SPDX-License-Identifier: GPL-2.0-or-later
"""i8259 pair (skeleton: signatures are final)."""

from __future__ import annotations

from typing import Any

from .messages import Line, unconnected


class I8259Pair:
    name = "pic"

    def __init__(self, on_intr: Line = unconnected) -> None:
        self.on_intr = on_intr
        self.intr = False

    def ports(self) -> list[tuple[int, int]]:
        return [(0x20, 2), (0xA0, 2), (0x4D0, 2)]

    def reset(self) -> None: ...
    def port_read(self, port: int, size: int) -> int:
        raise NotImplementedError

    def port_write(self, port: int, size: int, value: int) -> None: ...
    def set_irq(self, irq: int, level: bool) -> None: ...
    def acknowledge(self) -> int:
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        raise NotImplementedError

    def restore(self, state: dict[str, Any]) -> None: ...
