# SPDX-License-Identifier: GPL-2.0-or-later
"""What interrupt controllers say to each other: interrupt messages on the APIC bus, and plain lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

Line = Callable[[bool], None]
"""A wire, seen from the device that drives it: called with the new electrical level."""


def unconnected(_level: bool) -> None:
    """A line that leads nowhere."""


class DeliveryMode(IntEnum):
    """Encodings shared by the ICR, the LVT and the I/O APIC's redirection table (3 is reserved)."""

    FIXED = 0
    LOWEST = 1
    SMI = 2
    RESERVED = 3
    NMI = 4
    INIT = 5
    STARTUP = 6
    EXTINT = 7


class Shorthand(IntEnum):
    """ICR bits 18-19."""

    NONE = 0
    SELF = 1
    ALL = 2
    OTHERS = 3


BROADCAST = 0xFF
"""The physical destination that means every local APIC."""


@dataclass(frozen=True, slots=True)
class Message:
    """One interrupt message. `level` is the assert bit, `trigger_level` tells level from edge, `source` is the
    sending local APIC's ID (None: the I/O APIC or another device)."""

    mode: DeliveryMode
    vector: int
    destination: int
    logical: bool = False
    shorthand: Shorthand = Shorthand.NONE
    level: bool = True
    trigger_level: bool = False
    source: int | None = None
