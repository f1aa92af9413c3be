# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers declared field by field, as a manual's table has them.

    class Svr(Register):
        vector = Field(0, 8, reset=0xFF)
        enabled = Field(8)
        focus_disabled = Field(9)

`Svr().vector` reads a field, assigning to it writes that field as the *hardware* would, and `write(value)` writes the
whole register as *software* would: read-only and undeclared (reserved) bits keep what they hold. On the class,
`Svr.enabled.mask` is the field's mask, for the few paths where a function call would cost too much.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar, overload


class Access(Enum):
    """What a software write does to a field."""

    RW = "read-write"
    RO = "read-only"
    W1C = "write one to clear"


class Field:
    """A run of bits in a register."""

    __slots__ = ("access", "low", "mask", "maximum", "name", "reset")

    def __init__(self, low: int, width: int = 1, *, access: Access = Access.RW, reset: int = 0) -> None:
        self.low = low
        self.maximum = (1 << width) - 1
        self.mask = self.maximum << low
        self.access = access
        self.reset = reset
        self.name = ""
        if not 0 <= reset <= self.maximum:
            raise ValueError(f"reset value {reset:#x} does not fit {width} bits")

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, register: None, owner: type) -> Field: ...
    @overload
    def __get__(self, register: Register, owner: type) -> int: ...
    def __get__(self, register: Register | None, owner: type) -> Field | int:
        if register is None:
            return self
        return (register.value >> self.low) & self.maximum

    def __set__(self, register: Register, value: int) -> None:
        register.value = (register.value & ~self.mask) | ((value & self.maximum) << self.low)


class Register:
    """Base of declared registers. `value` is the whole register; it is all the state there is."""

    __slots__ = ("value",)

    FIELDS: ClassVar[dict[str, Field]] = {}
    RESET: ClassVar[int] = 0
    WRITABLE: ClassVar[int] = 0
    CLEARABLE: ClassVar[int] = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.FIELDS = {**cls.FIELDS, **{name: field for name, field in vars(cls).items() if isinstance(field, Field)}}
        cls.RESET = cls.WRITABLE = cls.CLEARABLE = 0
        taken = 0
        for name, field in cls.FIELDS.items():
            if taken & field.mask:
                raise ValueError(f"{cls.__name__}.{name} overlaps another field")
            taken |= field.mask
            cls.RESET |= field.reset << field.low
            if field.access is Access.RW:
                cls.WRITABLE |= field.mask
            elif field.access is Access.W1C:
                cls.CLEARABLE |= field.mask

    def __init__(self, value: int | None = None) -> None:
        self.value: int = self.RESET if value is None else value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"

    def reset(self) -> None:
        self.value = self.RESET

    def write(self, value: int) -> None:
        """A write by software."""
        kept = self.value & ~self.WRITABLE
        self.value = (kept | (value & self.WRITABLE)) & ~(value & self.CLEARABLE)

    def describe(self) -> dict[str, int]:
        """Every field by name, for messages and tests."""
        return {name: (self.value >> field.low) & field.maximum for name, field in self.FIELDS.items()}


class RegisterFile:
    """Registers by the offset of their first byte, each with its width in bytes, for accesses of any width.

    Where no register is, reads give zeros and writes are lost. `reset` goes back to the values given here.
    """

    def __init__(self, registers: Mapping[int, tuple[int, Register]]) -> None:
        self._registers = {at: register for at, (_, register) in registers.items()}
        self._whole = {at << 3 | width: register for at, (width, register) in registers.items()}
        self._owner = {at + byte: at for at, (width, _) in registers.items() for byte in range(width)}
        self._initial = self.state()

    def __getitem__(self, at: int) -> Register:
        return self._registers[at]

    def read(self, offset: int, size: int) -> int:
        """What `size` bytes hold, whichever registers they are of."""
        register = self._whole.get(offset << 3 | size)
        if register is not None:
            return register.value
        value = 0
        for at in range(offset, offset + size):
            owner = self._owner.get(at)
            if owner is not None:
                value |= (self._registers[owner].value >> 8 * (at - owner) & 0xFF) << 8 * (at - offset)
        return value

    def spread(self, offset: int, size: int, value: int) -> dict[int, int]:
        """What each register touched by a write is to be `write`n, by offset; its other bytes change nothing."""
        if offset << 3 | size in self._whole:
            return {offset: value}
        touched: dict[int, int] = {}
        for at in range(offset, offset + size):
            owner = self._owner.get(at)
            if owner is not None:
                register, shift = self._registers[owner], 8 * (at - owner)
                kept = touched.get(owner, register.value & ~register.CLEARABLE)
                touched[owner] = kept & ~(0xFF << shift) | (value >> 8 * (at - offset) & 0xFF) << shift
        return touched

    def reset(self) -> None:
        self.restore(self._initial)

    def state(self) -> dict[int, int]:
        """The value of each register by offset."""
        return {at: register.value for at, register in self._registers.items()}

    def restore(self, state: Mapping[int, int]) -> None:
        for at, value in state.items():
            self._registers[at].value = value
