# SPDX-License-Identifier: GPL-2.0-or-later
"""The local APIC's registers, field by field, as the SDM's figures have them."""

from __future__ import annotations

from .messages import DeliveryMode
from .registers import Access, Field, Register

ADDRESS = 0xFEE00000
VERSION = 0x14
LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR = range(6)
LVT_OFFSETS = {0x320 + 0x10 * entry: entry for entry in range(6)}


class IdRegister(Register):
    id = Field(24, 8)


class TaskPriority(Register):
    subclass = Field(0, 4)
    priority_class = Field(4, 4)


class LogicalDestination(Register):
    id = Field(24, 8)


class DestinationFormat(Register):
    ones = Field(0, 28, access=Access.RO, reset=0xFFFFFFF)
    model = Field(28, 4, reset=0xF)


class SpuriousVector(Register):
    vector = Field(0, 8, reset=0xFF)
    enabled = Field(8)
    focus_disabled = Field(9)
    suppress_eoi_broadcast = Field(12, access=Access.RO)


class ErrorStatus(Register):
    send_checksum = Field(0, access=Access.RO)
    receive_checksum = Field(1, access=Access.RO)
    send_accept = Field(2, access=Access.RO)
    receive_accept = Field(3, access=Access.RO)
    send_illegal_vector = Field(5, access=Access.RO)
    receive_illegal_vector = Field(6, access=Access.RO)
    illegal_register = Field(7, access=Access.RO)


class IcrLow(Register):
    vector = Field(0, 8)
    mode = Field(8, 3)
    logical = Field(11)
    status = Field(12, access=Access.RO)
    level = Field(14)
    trigger = Field(15)
    shorthand = Field(18, 2)


class IcrHigh(Register):
    destination = Field(24, 8)


class DivideConfiguration(Register):
    low = Field(0, 2)
    high = Field(3)

    @property
    def divisor(self) -> int:
        """0 means by 2, 1 by 4, ... 6 by 128; 7 means by 1."""
        return 1 << ((self.low | self.high << 2) + 1 & 7)


class LvtEntry(Register):
    """What every entry of the local vector table has."""

    vector = Field(0, 8)
    status = Field(12, access=Access.RO)
    mask = Field(16, reset=1)

    def delivery(self) -> DeliveryMode:
        return DeliveryMode.FIXED


class LvtTimer(LvtEntry):
    periodic = Field(17)


class LvtSensor(LvtEntry):
    """Thermal sensor and performance counter."""

    mode = Field(8, 3)

    def delivery(self) -> DeliveryMode:
        return DeliveryMode(self.mode)


class LvtLint(LvtSensor):
    polarity = Field(13)
    remote_irr = Field(14, access=Access.RO)
    trigger = Field(15)
