# SPDX-License-Identifier: GPL-2.0-or-later
"""The APIC bus: which local APICs a message reaches.

Lowest-priority messages go to one of them: the focus processor if there is one, else the one with the lowest
arbitration priority, and among equals the one with the lowest APIC ID. (Silicon rotates among equals; a fixed choice
keeps runs easy to read, and it is what QEMU does.)
"""

from __future__ import annotations

from collections.abc import Sequence

from .lapic import LocalApic
from .messages import DeliveryMode, Message


def deliver(message: Message, lapics: Sequence[LocalApic]) -> int:
    """Hand a message to every local APIC it names (one of them, for lowest priority); returns how many took it."""
    targets = [lapic for lapic in lapics if lapic.matches(message)]
    if message.mode is DeliveryMode.LOWEST:
        targets = _arbitrate(message.vector, targets)
    for lapic in targets:
        lapic.accept(message)
    return len(targets)


def _arbitrate(vector: int, targets: list[LocalApic]) -> list[LocalApic]:
    enabled = [lapic for lapic in targets if lapic.software_enabled]
    focus = [lapic for lapic in enabled if lapic.is_focus(vector)]
    ordered = sorted(focus or enabled, key=lambda lapic: (lapic.arbitration_priority(), lapic.apic_id))
    return ordered[:1]
