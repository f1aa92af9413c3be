# SPDX-License-Identifier: GPL-2.0-or-later
"""The APIC bus (skeleton: signature is final)."""

from __future__ import annotations

from collections.abc import Sequence

from .lapic import LocalApic
from .messages import Message


def deliver(message: Message, lapics: Sequence[LocalApic]) -> int:
    """Hand a message to every local APIC it names (one of them, for lowest priority); returns how many took it."""
    raise NotImplementedError
