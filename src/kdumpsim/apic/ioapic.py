# SPDX-License-Identifier: GPL-2.0-or-later
"""I/O APIC (skeleton: signatures are final)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .messages import Message


class IoApic:
    name = "ioapic"

    def __init__(self, apic_id: int, post: Callable[[Message], None]) -> None: ...
    def reset(self) -> None: ...
    def read(self, offset: int) -> int:
        raise NotImplementedError

    def write(self, offset: int, value: int) -> None: ...
    def set_pin(self, pin: int, level: bool) -> None: ...
    def eoi(self, vector: int) -> None: ...
    def state(self) -> dict[str, Any]:
        raise NotImplementedError

    def restore(self, state: dict[str, Any]) -> None: ...
