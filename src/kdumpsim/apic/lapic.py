# SPDX-License-Identifier: GPL-2.0-or-later
"""Local APIC (skeleton: signatures are final)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .messages import Message
from .timers import Timers


class LocalApic:
    name = "lapic"

    def __init__(
        self,
        apic_id: int,
        timers: Timers,
        post: Callable[[Message], None],
        *,
        bsp: bool,
        on_eoi: Callable[[int], None] = lambda vector: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.bsp = bsp
        self.on_eoi = on_eoi
        self.changed = changed
        self.hardware_enabled = True  # IA32_APIC_BASE bit 11; set through set_hardware_enabled()

    @property
    def apic_id(self) -> int:
        raise NotImplementedError

    def reset(self) -> None: ...
    def read(self, offset: int) -> int:
        raise NotImplementedError

    def write(self, offset: int, value: int) -> None: ...
    def matches(self, message: Message) -> bool:
        raise NotImplementedError

    def accept(self, message: Message) -> None: ...
    def pending(self) -> int | None:
        raise NotImplementedError

    def acknowledge(self) -> int:
        raise NotImplementedError

    def accepts_extint(self) -> bool:
        raise NotImplementedError

    def take_nmi(self) -> bool:
        raise NotImplementedError

    def take_init(self) -> bool:
        raise NotImplementedError

    def take_startup(self) -> int | None:
        raise NotImplementedError

    def set_lint(self, pin: int, level: bool) -> None: ...
    def perf_overflow(self) -> None: ...
    def set_hardware_enabled(self, enabled: bool) -> None: ...
    def state(self) -> dict[str, Any]:
        raise NotImplementedError

    def restore(self, state: dict[str, Any]) -> None: ...
